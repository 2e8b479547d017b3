//! The last question before a request leaves: is it still allowed? Asked inside the write to the socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::reason::Denial;

/// What stands between a decision and its effect: still not revoked, knowledge still fresh, deadline not passed.
pub trait Fence: Send + Sync {
    /// Calls `write` exactly once if the call may still be made, and not at all otherwise.
    ///
    /// The check and `write` are one step with regard to revocations: one that is applied before is seen, and one that
    /// comes during `write` is applied (and acknowledged) after it. An implementation holds its guard across `write`,
    /// which hands octets to the system and does not wait.
    ///
    /// # Errors
    /// Why the call may not be made any more.
    fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial>;
}

/// What became of the request that went, or did not go, through a [`FencedIo`].
#[derive(Debug, Default)]
pub struct Passage {
    octets: AtomicU64,
    denial: OnceLock<Denial>,
}

impl Passage {
    /// How many octets were handed to the socket since the fence was armed. Zero: nothing of the request left.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Acquire)
    }

    /// Why the fence denied, if it did. Then no octet was handed over.
    pub fn denial(&self) -> Option<&Denial> {
        self.denial.get()
    }
}

/// A socket that asks a fence before the first octet that is written once it is armed.
///
/// It belongs *under* TLS: it is armed when the handshake is over, so that the next octets are those of the request,
/// encrypted. That holds for a protocol in which the client's first octets are the request's, such as HTTP/1.1, and not
/// for one with a preamble, such as HTTP/2, whose preface would pass the fence in the request's place.
///
/// The fence is asked inside `poll_write`, and the octets go to the socket before its guard is released. If it denies,
/// nothing is written, neither then nor later. If the socket takes nothing, the fence is asked again.
pub struct FencedIo<'a, S> {
    socket: S,
    fence: &'a dyn Fence,
    state: State,
    passage: Arc<Passage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Armed,
    Passed,
    Denied,
}

impl<'a, S> FencedIo<'a, S> {
    /// A socket that is not armed yet, and what will become of it.
    pub fn new(socket: S, fence: &'a dyn Fence) -> (Self, Arc<Passage>) {
        let passage = Arc::new(Passage::default());
        (Self { socket, fence, state: State::Open, passage: Arc::clone(&passage) }, passage)
    }

    /// From now on the fence is asked. The octets so far do not count.
    pub fn arm(&mut self) {
        if self.state == State::Open {
            self.state = State::Armed;
        }
    }
}

impl<S: Unpin> FencedIo<'_, S> {
    fn fenced(&mut self, mut write: impl FnMut(Pin<&mut S>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let socket = &mut self.socket;
        let written = match self.state {
            State::Open => return write(Pin::new(socket)),
            State::Denied => return Poll::Ready(Err(denied())),
            State::Passed => write(Pin::new(socket)),
            State::Armed => {
                let mut written = Poll::Pending;
                if let Err(denial) = self.fence.pass(&mut || written = write(Pin::new(socket))) {
                    self.state = State::Denied;
                    // It is set once: a denied socket does not come here again.
                    let _ = self.passage.denial.set(denial);
                    return Poll::Ready(Err(denied()));
                }
                written
            }
        };
        if let Poll::Ready(Ok(octets @ 1..)) = written {
            self.state = State::Passed;
            self.passage.octets.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
        written
    }
}

fn denied() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the fence denied")
}

impl<S: AsyncRead + Unpin> AsyncRead for FencedIo<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FencedIo<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.fenced(|socket| socket.poll_write(context, octets))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fenced(|socket| socket.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl<S> fmt::Debug for FencedIo<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FencedIo").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use crate::reason::Reason;

    /// A fence that counts how often it was asked, can be shut, and says while it is held.
    #[derive(Default)]
    pub(in crate::target) struct Barrier {
        pub(in crate::target) shut: AtomicBool,
        pub(in crate::target) asked: AtomicUsize,
        pub(in crate::target) held: Arc<AtomicBool>,
    }

    impl Fence for Barrier {
        fn pass(&self, write: &mut dyn FnMut()) -> Result<(), Denial> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.shut.load(Ordering::SeqCst) {
                return Err(Denial::new(Reason::RevokedCertificate, "in flight"));
            }
            self.held.store(true, Ordering::SeqCst);
            write();
            self.held.store(false, Ordering::SeqCst);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::testing::Barrier;
    use super::*;
    use crate::reason::Reason;

    /// A socket that takes at most `limit` octets at a time, and notes those that it got while the fence was held.
    struct Socket {
        limit: usize,
        blocked: bool,
        got: Vec<u8>,
        under_fence: usize,
        held: Arc<AtomicBool>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
            if std::mem::take(&mut self.blocked) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = octets.len().min(self.limit);
            self.got.extend_from_slice(&octets[..taken]);
            if self.held.load(Ordering::SeqCst) {
                self.under_fence += taken;
            }
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn socket(gate: &Barrier, limit: usize, blocked: bool) -> Socket {
        Socket { limit, blocked, got: Vec::new(), under_fence: 0, held: Arc::clone(&gate.held) }
    }

    #[tokio::test]
    async fn i1_the_first_octets_go_out_while_the_fence_is_held() {
        let gate = Barrier::default();
        let (mut io, passage) = FencedIo::new(socket(&gate, 4, false), &gate);
        io.write_all(b"handshake").await.unwrap();
        assert_eq!((gate.asked.load(Ordering::SeqCst), passage.octets()), (0, 0));
        io.arm();
        io.write_all(b"request").await.unwrap();
        assert_eq!(io.socket.got, b"handshakerequest");
        assert_eq!(io.socket.under_fence, 4, "the first write, and no other");
        assert_eq!((gate.asked.load(Ordering::SeqCst), passage.octets()), (1, 7));
        assert!(passage.denial().is_none());
    }

    #[tokio::test]
    async fn i2_not_one_octet_goes_out_after_a_denial() {
        for vectored in [false, true] {
            let gate = Barrier::default();
            let (mut io, passage) = FencedIo::new(socket(&gate, 4, false), &gate);
            io.write_all(b"handshake").await.unwrap();
            io.arm();
            gate.shut.store(true, Ordering::SeqCst);
            let refused = match vectored {
                false => io.write(b"request").await,
                true => io.write_vectored(&[IoSlice::new(b"req"), IoSlice::new(b"uest")]).await,
            };
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            // A fence that opens again changes nothing, and a closing alert does not get out either.
            gate.shut.store(false, Ordering::SeqCst);
            assert!(io.write(b"alert").await.is_err());
            assert_eq!(io.socket.got, b"handshake");
            assert_eq!((gate.asked.load(Ordering::SeqCst), passage.octets()), (1, 0));
            assert_eq!(passage.denial().unwrap().reason, Reason::RevokedCertificate);
        }
    }

    #[tokio::test]
    async fn i2_a_socket_that_takes_nothing_has_not_passed() {
        let gate = Barrier::default();
        let (mut io, passage) = FencedIo::new(socket(&gate, 100, true), &gate);
        io.arm();
        let first = futures::poll!(Box::pin(io.write(b"request")));
        assert!(first.is_pending());
        assert_eq!(passage.octets(), 0);
        gate.shut.store(true, Ordering::SeqCst);
        assert!(io.write(b"request").await.is_err());
        assert_eq!((io.socket.got.len(), gate.asked.load(Ordering::SeqCst)), (0, 2));
    }

    #[tokio::test]
    async fn reading_is_not_fenced() {
        let gate = Barrier { shut: AtomicBool::new(true), ..Barrier::default() };
        let (mut far, near) = tokio::io::duplex(16);
        let (mut io, _) = FencedIo::new(near, &gate);
        io.arm();
        far.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, gate.asked.load(Ordering::SeqCst)), (b"answer", 0));
    }
}
