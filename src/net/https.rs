//! One GET over HTTPS, with bounds on all of it: for what other mail servers publish there. No redirects are followed,
//! nothing is remembered, and a connection serves one request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dial::dial;

/// Octets of a response's header, and of what waits to be read.
const HEADER: usize = 64 * 1024;
/// For one address to answer, before the next one is tried.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Get<'a> {
    /// The host: what its certificate must be for.
    pub host: &'a str,
    /// Its addresses, in the order to try them.
    pub addresses: &'a [SocketAddr],
    /// The path, with its slash.
    pub path: &'a str,
    /// How many octets the content may have.
    pub limit: usize,
    /// How long all of it may take.
    pub within: Duration,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code, such as 200.
    pub status: u16,
    /// What the server says that it is.
    pub content_type: Option<String>,
    /// The content.
    pub content: Vec<u8>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// None of the addresses answers.
    #[error("{0}")]
    Unreachable(String),
    /// The handshake failed.
    #[error("TLS: {}", crate::tls::client::why(.0))]
    Tls(#[source] io::Error),
    /// It was no HTTP, or ended early.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The content is too long.
    #[error("the content is too long")]
    TooLong,
    /// It took too long.
    #[error("not done within {0:?}")]
    TooSlow(Duration),
}

/// Gets it.
///
/// # Errors
/// When nothing came, or too much, or too late.
pub async fn get(tls: Arc<ClientConfig>, get: Get<'_>) -> Result<Page, HttpsError> {
    // Boxed: it is large, and few are under way.
    let got = timeout(get.within, Box::pin(get_in_its_time(tls, &get))).await;
    got.unwrap_or(Err(HttpsError::TooSlow(get.within)))
}

async fn get_in_its_time(tls: Arc<ClientConfig>, get: &Get<'_>) -> Result<Page, HttpsError> {
    let mut last = HttpsError::Unreachable("it has no addresses".to_owned());
    let mut dialled = None;
    for address in get.addresses {
        match dial(*address, None, CONNECT_WITHIN).await {
            Ok(connection) => {
                dialled = Some(connection);
                break;
            }
            Err(error) => last = HttpsError::Unreachable(error.to_string()),
        }
    }
    let Some(stream) = dialled.and_then(super::Dialled::into_stream) else { return Err(last) };
    let name = ServerName::try_from(get.host.to_owned())
        .map_err(|error| HttpsError::Tls(io::Error::other(error)))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(HttpsError::Tls)?;

    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEADER)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    let request = Request::get(get.path)
        .header(HOST, get.host)
        .header(USER_AGENT, "penfold")
        .body(Empty::new())
        .map_err(|error| HttpsError::Unreachable(format!("no request can be made of it: {error}")))?;
    let exchange = async { page(sender.send_request(request).await?, get.limit).await };
    tokio::pin!(exchange, connection);
    tokio::select! {
        page = &mut exchange => page,
        // The server has closed: what has come is still to be read.
        _ = &mut connection => exchange.await,
    }
}

async fn page(response: Response<hyper::body::Incoming>, limit: usize) -> Result<Page, HttpsError> {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (content_type, status) = (content_type.map(str::to_owned), response.status().as_u16());
    let content = Limited::new(response.into_body(), limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return HttpsError::TooLong;
        }
        match error.downcast::<hyper::Error>() {
            Ok(error) => HttpsError::Http(*error),
            Err(error) => HttpsError::Unreachable(error.to_string()),
        }
    })?;
    Ok(Page { status, content_type, content: content.to_bytes().to_vec() })
}
