//! Logs: for people on a terminal, JSON otherwise. No secrets and no bodies ever reach them.
//!
//! Spans are made where the fact is known (`net` makes one a connection); this room only says where they go.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Level, Log, LogFormat};

/// The target of protocol transcripts. Off unless the configuration asks for it.
pub const TRANSCRIPT: &str = "transcript";

/// Starts logging to standard error, for the whole process. Later calls change nothing.
pub fn start(log: &Log) {
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let colour = human && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second start (a command run in-process) keeps the first one's subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber(log, human, colour, io::stderr));
    log_panics();
}

/// A panic ends one connection or job, never the process; its line belongs in the log, not beside it.
fn log_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The payload may quote what a peer sent; the place is what the mender needs.
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a defect of this server: panic");
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                before(info);
            }
        }));
    });
}

fn subscriber<W>(log: &Log, human: bool, colour: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)).with_writer(writer);
    if human {
        Box::new(builder.with_ansi(colour).with_target(false).finish())
    } else {
        Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(true).finish())
    }
}

fn filter(log: &Log) -> EnvFilter {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    // Libraries speak only when something is wrong: their debug lines may hold octets of connections.
    let transcript = if log.transcript { "debug" } else { "off" };
    EnvFilter::new(format!("warn,penfold={level},store={level},{TRANSCRIPT}={transcript}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, human: bool) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        tracing::subscriber::with_default(subscriber(log, human, false, move || to.clone()), || {
            let span = tracing::info_span!("conn", proto = "smtp", id = 7, peer = "192.0.2.1");
            let _in = span.enter();
            tracing::info!(code = 250, "message accepted");
            tracing::debug!("a detail");
            tracing::debug!(target: TRANSCRIPT, "S: 220 hello");
            tracing::info!(target: "rustls::server", "octets of a handshake");
        });
        let octets = sink.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn json_has_one_object_a_line_with_the_connection() {
        let text = logged(&Log::default(), false);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "message accepted");
        assert_eq!(line["code"], 250);
        assert_eq!(line["spans"][0]["proto"], "smtp");
        assert_eq!(line["spans"][0]["id"], 7);
    }

    #[test]
    fn people_get_plain_lines_and_libraries_stay_silent() {
        let text = logged(&Log { level: Level::Debug, ..Log::default() }, true);
        assert!(text.contains("conn{proto=\"smtp\" id=7") && text.contains("a detail"), "{text}");
        assert!(
            !text.contains("handshake") && !text.contains("220 hello") && !text.contains('\x1b'),
            "{text}"
        );
    }

    #[test]
    fn transcripts_are_on_request_only() {
        let text = logged(&Log { transcript: true, ..Log::default() }, true);
        assert!(text.contains("220 hello"), "{text}");
    }
}
