//! The log: `tracing` events become readable lines on standard error and JSON lines in a file.
//!
//! Both are rendered from the same record. Writing happens on threads of its own behind bounded
//! queues, so neither a slow disk nor a stopped terminal ever holds up a session; what does not fit,
//! or cannot be written, is counted and reported in a later line.

mod json;
mod line;
mod queue;
mod record;
mod rotate;

#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::config::{Level, LogConfig};
use queue::Queue;
use record::Record;
use rotate::RotatingFile;
pub(crate) use rotate::rotated_name;

/// Starts logging for the whole process, once. What is logged before is lost.
///
/// # Errors
/// [`LogError`] when the file cannot be opened or a log has been started already.
pub fn start(config: &LogConfig) -> Result<LogGuard, LogError> {
    let (subscriber, guard) = subscriber(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Started)?;
    Ok(guard)
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file or its directory cannot be made or opened.
    #[error("the log file {} cannot be opened; check `file` in [server.log]", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another log was started in this process.
    #[error("logging has been started already")]
    Started,
    /// The operating system gives no thread.
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] io::Error),
}

/// Keeps the log going. Dropping it writes what is waiting, for at most two seconds.
pub struct LogGuard {
    queues: Vec<Arc<Queue>>,
    filter: reload::Handle<LevelFilter, Registry>,
}

impl LogGuard {
    /// Logs from now on what is at least as important as `level`.
    pub fn set_level(&self, level: Level) {
        self.filter
            .reload(filter(level))
            .expect("the subscriber lives as long as the process");
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.close();
        }
    }
}

fn subscriber(config: &LogConfig) -> Result<(impl Subscriber + use<>, LogGuard), LogError> {
    let style = if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        Style::Coloured
    } else {
        Style::Plain
    };
    let stderr = |line: &[u8]| io::stderr().lock().write_all(line);
    let mut outputs = vec![Output::start("log-stderr", style, stderr)?];
    if let Some(path) = &config.file {
        let mut file =
            RotatingFile::open(path, config.rotate_bytes, config.rotate_keep).map_err(|source| LogError::Open {
                path: path.clone(),
                source,
            })?;
        outputs.push(Output::start("log-file", Style::Json, move |line| file.append(line))?);
    }
    let (filter, handle) = reload::Layer::new(filter(config.level));
    let guard = LogGuard {
        queues: outputs.iter().map(|output| Arc::clone(&output.queue)).collect(),
        filter: handle,
    };
    Ok((Registry::default().with(filter).with(Outputs(outputs)), guard))
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    }
}

/// How a record becomes a line.
#[derive(Clone, Copy)]
enum Style {
    Coloured,
    Json,
    Plain,
}

impl Style {
    fn render(self, record: &Record) -> Vec<u8> {
        match self {
            Self::Coloured => line::render(record, true),
            Self::Json => json::render(record),
            Self::Plain => line::render(record, false),
        }
    }
}

/// One place where lines go.
struct Output {
    style: Style,
    queue: Arc<Queue>,
}

impl Output {
    fn start(
        thread: &str,
        style: Style,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, LogError> {
        let lost = move |lines| style.render(&Record::lost(lines));
        let queue = Queue::start(thread, write, lost).map_err(LogError::Thread)?;
        Ok(Self { style, queue })
    }
}

struct Outputs(Vec<Output>);

impl<S: Subscriber> Layer<S> for Outputs {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let record = Record::new(event);
        for output in &self.0 {
            output.queue.push(output.style.render(&record));
        }
    }
}
