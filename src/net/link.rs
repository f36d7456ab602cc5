//! The stream under a connection: plain, or inside TLS.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use wire::machine::{Certificate, TlsFacts};

use super::{Error, Side};

/// A stream that can move inside TLS once.
pub(super) enum Link<S> {
    Plain(S),
    /// Boxed: rustls' state is a kilobyte and more, and most of what is plain never needs it.
    Tls(Box<TlsStream<S>>),
    /// A handshake failed, or is on: there is nothing to read or write.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// The TLS handshake.
    pub(super) async fn secure(&mut self, side: Side, within: Duration) -> Result<TlsFacts, Error> {
        match timeout(within, self.shake(side)).await {
            Ok(facts) => facts.map_err(Error::Handshake),
            Err(_) => Err(Error::HandshakeSlow(within)),
        }
    }

    async fn shake(&mut self, side: Side) -> io::Result<TlsFacts> {
        let Link::Plain(stream) = mem::replace(self, Link::Gone) else {
            return Err(io::Error::other("the connection is inside TLS already"));
        };
        // Boxed, as they are large and soon over.
        let (stream, certificate, server_name) = match side {
            Side::Server(config) => {
                let stream = Box::pin(TlsAcceptor::from(config).accept(stream)).await?;
                let server_name = stream.get_ref().1.server_name().map(str::to_owned);
                (TlsStream::Server(stream), Certificate::NotAsked, server_name)
            }
            Side::Client(side) => {
                let connector = TlsConnector::from(side.config());
                let stream = Box::pin(connector.connect(side.name(), stream)).await?;
                (TlsStream::Client(stream), side.certificate(), Some(side.name().to_str().into_owned()))
            }
        };
        let facts = TlsFacts { server_name, certificate, ..agreed(&stream) };
        *self = Link::Tls(Box::new(stream));
        Ok(facts)
    }

    /// Reads into the free room at the end of `buf`. Zero octets: the peer will send no more.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match self {
            Link::Plain(stream) => pin!(stream.read_buf(buf)).poll(cx),
            Link::Tls(stream) => match pin!(stream.read_buf(buf)).poll(cx) {
                // Without close_notify the end may be forged; but a command or a body that was cut is never
                // taken for a whole one, and half the clients close this way.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                other => other,
            },
            Link::Gone => Poll::Ready(Ok(0)),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Link::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, octets),
            Link::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Link::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Link::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Tells the peer that no more will come: close_notify inside TLS, then the end of the stream.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| match self {
            Link::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Link::Gone => Poll::Ready(Ok(())),
        })
        .await
    }
}

/// What the handshake agreed on, in the words of trace headers.
fn agreed<S>(stream: &TlsStream<S>) -> TlsFacts {
    let (_, tls) = stream.get_ref();
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS1.2",
        _ => "TLS",
    };
    let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    TlsFacts {
        version: version.to_owned(),
        // rustls writes TLS13_ for the suites that IANA lists as TLS_.
        cipher: match suite.strip_prefix("TLS13_") {
            Some(rest) => format!("TLS_{rest}"),
            None => suite.to_owned(),
        },
        ..TlsFacts::default()
    }
}
