//! A real nameserver on loopback for tests: zones written in the test, signed on demand.
//!
//! Names with the label `servfail` are answered with SERVFAIL, names with the label `silent` never.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::runtime::Time;
use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::DNSKEY;
use hickory_resolver::proto::dnssec::{Algorithm, DnssecSigner, SigningKey as _};
use hickory_resolver::proto::op::{Header, HeaderCounts, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};

/// A zone under construction.
pub struct Zone {
    records: InMemoryZoneHandler,
    origin: Name,
}

/// A name, with or without its last dot.
fn name(text: &str) -> Name {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).unwrap()
}

impl Zone {
    /// A zone with its SOA and NS records. Root is `.`.
    pub fn new(origin: &str) -> Zone {
        let origin = name(origin);
        let mut records = InMemoryZoneHandler::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
            Some(NxProofKind::Nsec),
        );
        let soa = SOA::new(name("ns.test"), name("hostmaster.test"), 1, 3600, 600, 86_400, 60);
        for data in [RData::SOA(soa), RData::NS(NS(name("ns.test")))] {
            records.upsert_mut(Record::from_rdata(origin.clone(), 300, data), 0);
        }
        Zone { records, origin }
    }

    fn add(mut self, owner: &str, data: RData) -> Zone {
        assert!(self.records.upsert_mut(Record::from_rdata(name(owner), 300, data), 0), "{owner}");
        self
    }

    pub fn mx(self, owner: &str, preference: u16, host: &str) -> Zone {
        self.add(owner, RData::MX(MX::new(preference, name(host))))
    }

    pub fn ip(self, owner: &str, ip: &str) -> Zone {
        let data = match ip.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.add(owner, data)
    }

    pub fn cname(self, owner: &str, to: &str) -> Zone {
        self.add(owner, RData::CNAME(CNAME(name(to))))
    }

    pub fn txt(self, owner: &str, pieces: &[&str]) -> Zone {
        self.add(owner, RData::TXT(TXT::new(pieces.iter().map(|p| (*p).to_owned()).collect())))
    }

    pub fn tlsa(self, owner: &str, numbers: [u8; 3], data: &[u8]) -> Zone {
        let [usage, selector, matching] = numbers;
        self.add(owner, RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec())))
    }

    /// A zone below that is unsigned, if it is served at all.
    pub fn delegate(self, owner: &str) -> Zone {
        self.add(owner, RData::NS(NS(name("ns.test"))))
    }

    /// Signs it with a new key. Writes the key to `anchor.keys` in the directory, and says where.
    pub fn sign(&mut self, dir: &Path) -> PathBuf {
        let der = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&der, Algorithm::ECDSAP256SHA256).unwrap();
        let public = DNSKEY::from_key(&key.to_public_key().unwrap());
        let file = dir.join("anchor.keys");
        std::fs::write(&file, format!("{} 300 IN DNSKEY {public}\n", self.origin)).unwrap();
        let day = Duration::from_secs(86_400);
        let signer = DnssecSigner::new(public, Box::new(key), self.origin.clone(), day);
        self.records.add_zone_signing_key_mut(signer).unwrap();
        self.records.secure_zone_mut().unwrap();
        file
    }

    /// Puts another record in the place of one, and leaves the signature of the old one: what a forger can do.
    pub fn forge(&mut self, owner: &str, kind: RecordType, data: RData) {
        let key = RrKey::new(LowerName::from(name(owner)), kind);
        let records = self.records.records_get_mut();
        let old = records.get(&key).unwrap().clone();
        let mut new = RecordSet::new(name(owner), kind, 1);
        new.insert(Record::from_rdata(name(owner), 300, data), 1);
        for signature in old.rrsigs() {
            new.insert_rrsig(signature.clone());
        }
        records.insert(key, Arc::new(new));
    }

    /// An IPv4 address as a record's data.
    pub fn ipv4(ip: &str) -> RData {
        RData::A(A(ip.parse().unwrap()))
    }
}

/// Serves zones over UDP and TCP on one port of loopback, for as long as the runtime lives.
pub async fn serve(zones: Vec<Zone>) -> SocketAddr {
    let zones: Vec<_> = zones.into_iter().map(|zone| (zone.origin, Arc::new(zone.records))).collect();
    let (mut all, mut parents) = (Catalog::new(), Catalog::new());
    for (origin, records) in &zones {
        all.upsert(LowerName::from(origin.clone()), vec![records.clone()]);
        if !zones.iter().any(|(other, _)| other != origin && other.zone_of(origin)) {
            parents.upsert(LowerName::from(origin.clone()), vec![records.clone()]);
        }
    }
    let (udp, tcp) = loop {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The port may be taken for TCP.
        if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let mut server = Server::new(Answers { all, parents });
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 32);
    tokio::spawn(async move { server.block_until_done().await.unwrap() });
    address
}

/// The library answers questions for DS from the child's zone when it has both sides of a cut, which is bogus.
struct Answers {
    all: Catalog,
    parents: Catalog,
}

#[async_trait::async_trait]
impl RequestHandler for Answers {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut to: R,
    ) -> ResponseInfo {
        let query = request.request_info().unwrap().query;
        let asked = query.name().to_string().to_ascii_lowercase();
        let has = |label: &str| asked.split('.').any(|one| one == label);
        if has("silent") {
            return ResponseInfo::from(Header {
                metadata: request.metadata,
                counts: HeaderCounts::default(),
            });
        }
        if has("servfail") {
            let builder = MessageResponseBuilder::from_message_request(request);
            return to
                .send_response(builder.error_msg(&request.metadata, ResponseCode::ServFail))
                .await
                .unwrap();
        }
        let from = if query.query_type() == RecordType::DS { &self.parents } else { &self.all };
        from.handle_request::<R, T>(request, to).await
    }
}
