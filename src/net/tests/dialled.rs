//! Connections that we begin: as the client of a handshake, inside TLS from the start, and to nobody.

use super::*;

/// Listens, and accepts one connection.
async fn one_peer() -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { listener.accept().await.unwrap().0 }))
}

fn client_side(trust: crate::tls::client::Trust) -> Option<Side> {
    let side = crate::tls::client::Clients::public().side(&"mail.example.org".parse().unwrap(), trust);
    Some(Side::Client(side.unwrap()))
}

#[tokio::test]
async fn a_dialled_connection_is_the_client_of_its_handshake() {
    use crate::tls::client::Trust;
    for (trust, done) in
        [(Trust::Any, true), (Trust::Names(vec!["mail.example.org".parse().unwrap()]), false)]
    {
        let (address, peer) = one_peer().await;
        let dialled = dial(address, Some("127.0.0.1".parse().unwrap()), MINUTE).await.unwrap();
        let mut peer = peer.await.unwrap();
        assert_eq!((dialled.peer(), dialled.local()), (address, peer.peer_addr().unwrap()));
        let seen = Arc::new(Seen::default());
        let terms = Arc::new(Terms { tls: client_side(trust), ..Terms::default() });
        let driving = tokio::spawn(dialled.drive(Toy::default(), ToyDesk(Arc::clone(&seen)), terms));
        peer.write_all(b"tls\n").await.unwrap();
        assert_eq!(read(&mut peer, 6).await, b"hello\n");
        let shaken = tokio_rustls::TlsAcceptor::from(tls().0).accept(peer).await;
        if done {
            let mut stream = shaken.unwrap();
            assert_eq!(stream.get_ref().1.server_name(), Some("mail.example.org"));
            stream.write_all(b"echo inside\nquit\n").await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "TLS1.3\ninside\n");
            drop(stream);
            assert!(driving.await.unwrap().result.is_ok());
        } else {
            drop(shaken);
            let Err(Error::Handshake(error)) = driving.await.unwrap().result else { panic!("a handshake") };
            let why = crate::tls::client::why(&error);
            assert_eq!(why, "no authority that we trust vouches for its certificate");
        }
        assert_eq!(seen.secured.load(Ordering::Relaxed), done);
    }
}

#[tokio::test]
async fn a_dialled_connection_may_begin_inside_tls() {
    let (address, peer) = one_peer().await;
    let dialled = dial(address, None, MINUTE).await.unwrap();
    let peer = peer.await.unwrap();
    let terms = Terms { tls: client_side(crate::tls::client::Trust::Any), ..Terms::default() };
    let accepting = tokio::spawn(tokio_rustls::TlsAcceptor::from(tls().0).accept(peer));
    let (dialled, facts) = dialled.secure(&terms).await.unwrap();
    let found = wire::machine::Certificate::Untrusted(
        "no authority that we trust vouches for its certificate".to_owned(),
    );
    assert_eq!((facts.version.as_str(), facts.certificate), ("TLS1.3", found));
    assert_eq!(facts.server_name.as_deref(), Some("mail.example.org"));
    let desk = ToyDesk(Arc::new(Seen::default()));
    let driving = tokio::spawn(dialled.drive(Toy::default(), desk, Arc::new(terms)));
    let mut stream = accepting.await.unwrap().unwrap();
    stream.write_all(b"quit\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello\n");
    drop(stream);
    assert!(driving.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn who_does_not_answer_is_not_reached() {
    // Bound and not listening: refused.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = dial(closed, None, MINUTE).await.err().unwrap();
    assert!(matches!(&error, DialError::Refused { to, .. } if *to == closed), "{error}");
    assert!(!error.is_no_route());
    // An address that is not ours.
    let from = "192.0.2.1".parse().unwrap();
    let error = dial(closed, Some(from), MINUTE).await.err().unwrap();
    assert!(matches!(error, DialError::From { .. }) && error.is_no_route(), "{error}");
}
