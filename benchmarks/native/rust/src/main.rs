//! The benchmark's work through async-nats, as a limit to compare with.
//!
//! Usage: NATS_URL=... native STREAM CONSUMER [one-thread]
//!
//! It runs on tokio's default runtime, whose threads are as many as the cores, or on one thread.
//!
//! Each line of stdin asks for one round, "WORK COUNT FILE"; the answer is one line of JSON with
//! the seconds it took and the processor time of this process. WORK is publish_many (pipelined),
//! publish (one by one) or consume (read and ack; FILE is "-"). FILE has three lines for each
//! message: subject, message id, data.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::Context;
use async_nats::{Client, ConnectOptions, ServerAddr};
use futures_util::StreamExt;

const WINDOW: usize = 4_000; // messages published and not yet acknowledged
const AHEAD: usize = 500; // messages requested at once
const LONGEST: Duration = Duration::from_secs(120);

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

struct Message {
    subject: String,
    id: String,
    data: Vec<u8>,
}

struct Native {
    client: Client,
    js: Context,
    stream: String,
    consumer: String,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let stream = arguments.next().ok_or("no stream given")?;
    let consumer = arguments.next().ok_or("no consumer given")?;
    let mut runtime = match arguments.next().as_deref() {
        None => tokio::runtime::Builder::new_multi_thread(),
        Some("one-thread") => tokio::runtime::Builder::new_current_thread(),
        Some(other) => return Err(format!("unknown argument {other}").into()),
    };
    runtime.enable_all().build()?.block_on(async {
        let client = connect(&std::env::var("NATS_URL")?).await?;
        let js = ContextBuilder::new().max_ack_inflight(WINDOW).build(client.clone());
        let native = Native { client, js, stream, consumer };
        for command in stdin().lock().lines() {
            let command = command?;
            native.round(&command).await.map_err(|error| format!("{command}: {error}"))?;
        }
        Ok(())
    })
}

async fn connect(url: &str) -> Result<Client> {
    let address: ServerAddr = url.parse()?;
    let options = match (address.username(), address.password()) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user.into(), password.into()),
        _ => ConnectOptions::new(),
    };
    Ok(options.connect(address).await?)
}

/// The seconds that all threads of this process have used.
fn processor_time() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills the whole struct when it returns 0, which is checked.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn load(file: &str) -> Result<Vec<Message>> {
    if file == "-" {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(file)?;
    let lines: Vec<&str> = text.lines().collect();
    let message = |lines: &[&str]| match lines {
        [subject, id, data] => Ok(Message { subject: subject.to_string(), id: id.to_string(), data: data.as_bytes().to_vec() }),
        _ => Err(format!("{file} does not have three lines for each message").into()),
    };
    lines.chunks(3).map(message).collect()
}

impl Message {
    fn request(self) -> (String, PublishMessage) {
        (self.subject, PublishMessage::build().payload(self.data.into()).message_id(self.id))
    }
}

fn stored(ack: PublishAck) -> Result<()> {
    if ack.duplicate {
        return Err(format!("sequence {} is a duplicate", ack.sequence).into());
    }
    Ok(())
}

impl Native {
    async fn round(&self, command: &str) -> Result<()> {
        let [work, count, file] = command.split(' ').collect::<Vec<_>>()[..] else {
            return Err("not WORK COUNT FILE".into());
        };
        let count = count.parse()?;
        let messages = load(file)?;
        if file != "-" && messages.len() != count {
            return Err(format!("{} messages in {file}, not {count}", messages.len()).into());
        }
        let (started, used) = (Instant::now(), processor_time());
        let done = async {
            match work {
                "publish_many" => self.publish_many(messages).await,
                "publish" => self.publish(messages).await,
                "consume" => self.consume(count).await,
                _ => Err("unknown work".into()),
            }
        };
        tokio::time::timeout(LONGEST, done).await??;
        let (seconds, used) = (started.elapsed().as_secs_f64(), processor_time() - used);
        let mut answers = stdout().lock();
        writeln!(answers, "{{\"seconds\": {seconds}, \"cpu_seconds\": {used}}}")?;
        Ok(answers.flush()?)
    }

    async fn publish_many(&self, messages: Vec<Message>) -> Result<()> {
        let mut unacknowledged = VecDeque::with_capacity(WINDOW);
        for message in messages {
            // An ack has its place in the client's window until it is awaited.
            if unacknowledged.len() == WINDOW
                && let Some(oldest) = unacknowledged.pop_front()
            {
                stored(oldest.await?)?;
            }
            let (subject, request) = message.request();
            unacknowledged.push_back(self.js.send_publish(subject, request).await?.into_future());
        }
        for ack in unacknowledged {
            stored(ack.await?)?;
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<()> {
        for message in messages {
            let (subject, request) = message.request();
            stored(self.js.send_publish(subject, request).await?.await?)?;
        }
        Ok(())
    }

    async fn consume(&self, count: usize) -> Result<()> {
        let consumer: PullConsumer = self.js.get_consumer_from_stream(&self.consumer, &self.stream).await?;
        let mut messages = consumer.stream().max_messages_per_batch(AHEAD).messages().await?;
        for _ in 0..count {
            messages.next().await.ok_or("the stream of messages ended")??.ack().await?;
        }
        drop(messages);
        self.client.flush().await?;
        Ok(())
    }
}
