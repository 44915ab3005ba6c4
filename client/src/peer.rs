//! A peer for tests: zbus' own server side on a socket of its own, answering as it is told.

use std::{
    future::poll_fn,
    os::unix::net::UnixListener,
    path::PathBuf,
    pin::Pin,
    thread,
    time::{Duration, Instant},
};

use zbus::{
    DynamicType, Guid, Message, MessageStream, connection::Builder, export::futures_core::Stream,
};

use crate::address::Address;

/// A listening socket in a directory of its own.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> (Self, UnixListener, Address) {
        let name = format!("cgctl-test-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("s")).unwrap();
        let address = Address::parse(directory.join("s").to_str().unwrap()).unwrap();
        (Self(directory), listener, address)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Accepts one client with zbus' handshake and answers `calls` calls with `answer`.
pub(crate) fn serve<F>(listener: UnixListener, calls: usize, answer: F) -> thread::JoinHandle<()>
where
    F: Fn(&Message) -> Vec<Message> + Send + Sync + 'static,
{
    let serving = async move {
        let (stream, _) = listener.accept().unwrap();
        let builder = Builder::unix_stream(stream).server(Guid::generate()).p2p();
        let connection = builder.build().await.unwrap();
        let mut received = MessageStream::from(&connection);
        for _ in 0..calls {
            let call = poll_fn(|cx| Pin::new(&mut received).poll_next(cx));
            for message in answer(&call.await.unwrap().unwrap()) {
                connection.send(&message).await.unwrap();
            }
        }
    };
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serving);
    })
}

pub(crate) fn reply<B: serde::Serialize + DynamicType>(call: &Message, body: &B) -> Message {
    Message::method_return(&call.header()).build(body).unwrap()
}
