//! An address from which it is not far to a server: what is sent there arrives, and all of it is kept, with its times.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::{Arc, Mutex};

use seb::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// One request and its answer, as the octets were.
#[derive(Debug, Clone)]
pub struct Trip {
    /// When the first octet of the request was there.
    pub begun: Instant,
    /// When the newest octet of the answer was there; until then as `begun`.
    pub ended: Instant,
    pub asked: Vec<u8>,
    pub answered: Vec<u8>,
}

type Trips = Mutex<Vec<Arc<Mutex<Trip>>>>;

/// It ends when it is dropped.
pub struct Recorder {
    /// `HOST:PORT`.
    pub address: String,
    trips: Arc<Trips>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trip {
    pub fn asked(&self) -> String {
        String::from_utf8_lossy(&self.asked).into_owned()
    }

    pub fn answered(&self) -> String {
        String::from_utf8_lossy(&self.answered).into_owned()
    }

    /// The first line of the request.
    pub fn line(&self) -> String {
        self.asked().lines().next().unwrap_or_default().to_owned()
    }

    /// The value of a header of the request, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        let asked = self.asked();
        let mut lines = asked.lines().skip(1).take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    /// The body of the request.
    pub fn body(&self) -> String {
        self.asked().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

impl Recorder {
    /// One before the server at `HOST:PORT`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let trips: Arc<Trips> = Arc::default();
        let (server, kept) = (server.to_owned(), Arc::clone(&trips));
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, trips) = (server.clone(), Arc::clone(&kept));
                // Either end is free to be gone.
                tokio::spawn(async move { drop(passed_on(near, &server, &trips).await) });
            }
        });
        Self { address, trips, task }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything so far, in the order of the requests.
    pub fn trips(&self) -> Vec<Trip> {
        self.trips.lock().unwrap().iter().map(|trip| trip.lock().unwrap().clone()).collect()
    }

    /// The same, which is then forgotten.
    pub fn take(&self) -> Vec<Trip> {
        let trips = std::mem::take(&mut *self.trips.lock().unwrap());
        trips.iter().map(|trip| trip.lock().unwrap().clone()).collect()
    }

    /// The newest request in which this text is.
    pub fn newest(&self, text: &str) -> Trip {
        let trips = self.trips();
        let found = trips.iter().rev().find(|trip| trip.asked().contains(text));
        found.unwrap_or_else(|| panic!("no request has {text}: {trips:#?}")).clone()
    }
}

/// One connection, on which a request follows the answer of the one before.
async fn passed_on(mut near: TcpStream, server: &str, trips: &Trips) -> std::io::Result<()> {
    let mut far = TcpStream::connect(server).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    let mut trip: Option<Arc<Mutex<Trip>>> = None;
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let octets = &asked[..read?];
                if octets.is_empty() {
                    return far.shutdown().await;
                }
                let open = trip.take().filter(|trip| trip.lock().unwrap().answered.is_empty());
                let open = open.unwrap_or_else(|| begun(trips));
                open.lock().unwrap().asked.extend_from_slice(octets);
                trip = Some(open);
                far.write_all(octets).await?;
            }
            read = far.read(&mut answered) => {
                let octets = &answered[..read?];
                if octets.is_empty() {
                    return near.shutdown().await;
                }
                // Before it is passed on, so that whoever has the answer finds it here.
                if let Some(trip) = &trip {
                    let mut trip = trip.lock().unwrap();
                    trip.answered.extend_from_slice(octets);
                    trip.ended = clock::instant();
                }
                near.write_all(octets).await?;
            }
        }
    }
}

fn begun(trips: &Trips) -> Arc<Mutex<Trip>> {
    let now = clock::instant();
    let trip = Trip { begun: now, ended: now, asked: Vec::new(), answered: Vec::new() };
    let trip = Arc::new(Mutex::new(trip));
    trips.lock().unwrap().push(Arc::clone(&trip));
    trip
}
