//! A netlink socket: one send for a batch, the answers in order.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use podkeel_wire::{Answer, Batch, Message, messages};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink,
};

use super::{apart, sys};
use crate::error::{Context, Error, Kind, Result};

/// A netlink socket. It belongs to the namespace in which it was opened, wherever its user goes.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

/// A message that the kernel refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Sequence number of the message.
    pub seq: u32,
    /// errno.
    pub errno: i32,
    /// The kernel's own words.
    pub extack: Option<String>,
}

impl Refusal {
    /// The refusal as an error about `what`.
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::errno(what, self.errno).extack(self.extack.clone())
    }
}

/// What became of a request that another process sent.
#[derive(Clone, Debug)]
pub enum Apart {
    /// It has its effect.
    Done,
    /// The kernel refused it.
    Refused(Refusal),
    /// That process could not be made, or ended before it was done.
    Unknown,
}

/// While this is open, another process keeps a socket open.
#[derive(Debug)]
pub struct Waiter {
    _open: OwnedFd,
    _leaving: sys::Leaving,
}

/// How long a socket stays open to let an RCU grace period pass.
const GRACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Which messages' answers end an exchange.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u32,
    last: u32,
    /// A refusal of the first message ends it too: that is how nfnetlink
    /// refuses a transaction as a whole.
    whole: bool,
}

impl Socket {
    /// Opens a socket for routes and links.
    pub fn route() -> Result<Socket> {
        // NETLINK_ROUTE is 0, the protocol of a socket that names none.
        let socket = Socket::open(None, "open a netlink socket for routes and links")?;
        // Without it a dump ignores what it is asked to filter by.
        sys::set_netlink_option(socket.fd.as_fd(), libc::NETLINK_GET_STRICT_CHK, 1)
            .ctx(|| "ask netlink for strict checking".into())?;
        Ok(socket)
    }

    /// Opens a socket for nftables.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(Some(netlink::NETFILTER), "open a netlink socket for nftables").map_err(|e| {
            if e.is(libc::EPROTONOSUPPORT) {
                e.hint("the kernel lacks nf_tables (CONFIG_NF_TABLES)")
            } else {
                e
            }
        })
    }

    fn open(protocol: Option<Protocol>, what: &str) -> Result<Socket> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .ctx(|| what.into())?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            sys::set_netlink_option(fd.as_fd(), option, 1)
                .ctx(|| "ask netlink for its reasons".into())?;
        }
        Ok(Socket { fd, seq: 1, buffer: Vec::new() })
    }

    /// The cookie of the namespace that this socket belongs to; `None` before Linux 5.14.
    pub(super) fn netns_cookie(&self) -> Result<Option<u64>> {
        match sys::netns_cookie(self.fd.as_fd()) {
            Err(Errno::NOPROTOOPT) => Ok(None),
            other => other.map(Some).ctx(|| "ask for the cookie of a network namespace".into()),
        }
    }

    /// A batch whose sequence numbers follow on from the last.
    pub fn batch(&self) -> Batch {
        Batch::new(self.seq)
    }

    /// Sends a batch of requests, none of them a dump, and reads the answers:
    /// `object` gets each object, the refusals come back. Every message of the
    /// batch was tried.
    pub fn exchange(
        &mut self,
        mut batch: Batch,
        object: impl FnMut(&Message<'_>),
    ) -> Result<Vec<Refusal>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        batch.ack_last();
        let span = Span { first: self.seq, last: batch.last_seq(), whole: false };
        self.send(&batch)?;
        self.answers(span, object)
    }

    /// Subscribes to a group of notifications, or not any more. Those that came until then
    /// are forgotten.
    fn subscribe(&mut self, group: u32, yes: bool) -> Result<()> {
        let option = if yes { libc::NETLINK_ADD_MEMBERSHIP } else { libc::NETLINK_DROP_MEMBERSHIP };
        sys::set_netlink_option(self.fd.as_fd(), option, group as i32)
            .ctx(|| "subscribe to notifications of netlink".into())?;
        while !yes && !matches!(self.receive_any(), Err(Errno::AGAIN)) {}
        Ok(())
    }

    /// Has another process send a batch, and returns as soon as `effect`, which is given the
    /// notifications of `group`, says that the request has its effect: the sender itself may
    /// have to wait for what the kernel does afterwards.
    pub fn send_apart(
        &mut self,
        mut batch: Batch,
        group: u32,
        effect: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<Apart> {
        batch.ack_last();
        self.seq = batch.next_seq();
        self.subscribe(group, true)?;
        let apart = self.watch_apart(&batch, effect);
        self.subscribe(group, false)?;
        apart
    }

    fn watch_apart(
        &mut self,
        batch: &Batch,
        mut effect: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<Apart> {
        let what = || "have a netlink request sent by another process".to_owned();
        let (ours, theirs) = apart::pair().ctx(what)?;
        // Its end of the pair is closed when it ends, however it ends.
        let bytes = batch.bytes().to_vec();
        let sent = sys::apart(&[self.fd.as_fd(), theirs.as_fd()], move |files| {
            let _ = rustix::net::send(files[0], &bytes, SendFlags::empty());
        });
        drop(theirs);
        let Ok(_leaving) = sent else { return Ok(Apart::Unknown) };
        loop {
            let mut both =
                [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(&ours, PollFlags::IN)];
            match poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).ctx(what),
            }
            let ended = !both[1].revents().is_empty();
            match self.hear(batch.last_seq(), &mut effect)? {
                Apart::Unknown if !ended => {}
                heard => return Ok(heard),
            }
        }
    }

    /// Reads what is there: the effect, or the answer to message `seq`.
    fn hear(&mut self, seq: u32, effect: &mut impl FnMut(&Message<'_>) -> bool) -> Result<Apart> {
        loop {
            let len = match self.receive_any() {
                Ok(len) => len,
                // With NOBUFS notifications were lost: then the end of the other process is
                // what is waited for.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => return Ok(Apart::Unknown),
                Err(errno) => return Err(errno).ctx(|| "read a netlink answer".into()),
            };
            for message in messages(&self.buffer[..len]) {
                let message = message.map_err(|e| {
                    Error::new(Kind::Failed, "read a netlink answer", e.to_string())
                })?;
                match message.answer() {
                    Answer::Object if effect(&message) => return Ok(Apart::Done),
                    Answer::Ack | Answer::Done if message.seq == seq => return Ok(Apart::Done),
                    Answer::Error { errno, extack } if message.seq == seq => {
                        return Ok(Apart::Refused(Refusal { seq, errno, extack }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Has another process do a job, for which it keeps these files open, and then close these
    /// sockets for the last time, some time after this process has closed them, and the returned
    /// value after them. Nothing is returned where no process could be made: then closing them is
    /// for this one, and the job isn't done.
    pub(super) fn close_apart<'a>(
        sockets: impl Iterator<Item = &'a Socket>,
        keep: &[BorrowedFd<'_>],
        job: impl sys::Job,
    ) -> Option<Waiter> {
        let (ours, theirs) = apart::pair().ok()?;
        let mut files = vec![theirs.as_fd()];
        files.extend(sockets.map(|socket| socket.as_fd()));
        let stay = sys::in_order(&files);
        files.extend(keep);
        let leaving = sys::apart(&files, move |files| {
            job(&files[stay.len()..]);
            sys::close_but(&stay);
            let _ = poll(&mut [PollFd::new(&files[0], PollFlags::IN)], None);
            // By now nothing may be left to wait for: the kernel lets nobody else commit
            // while it waits for the one who closes.
            let _ = poll(&mut [], Some(&GRACE));
        });
        Some(Waiter { _open: ours, _leaving: leaving.ok()? })
    }

    /// Sends an nfnetlink transaction that is complete but for its end: all of it is committed, or nothing.
    pub fn transaction(&mut self, batch: Batch) -> Result<Vec<Refusal>> {
        self.transaction_told(batch, |_| {})
    }

    /// The same; `object` gets what the kernel tells of messages that ask for it (NLM_F_ECHO).
    pub fn transaction_told(
        &mut self,
        mut batch: Batch,
        object: impl FnMut(&Message<'_>),
    ) -> Result<Vec<Refusal>> {
        // The last message that does something is the one that is acknowledged:
        // older kernels acknowledge no end of a transaction.
        batch.ack_last();
        let span = Span { first: self.seq, last: batch.last_seq(), whole: true };
        podkeel_wire::nf::end(&mut batch);
        self.send(&batch)?;
        self.answers(span, object)
    }

    /// Sends one dump request (made by `request`) and gives every object to
    /// `object`. A dump that the kernel calls inconsistent is asked for again.
    pub fn dump<T>(
        &mut self,
        request: impl Fn(&mut Batch),
        object: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Result<Vec<T>, Refusal>> {
        for _ in 0..DUMP_TRIES {
            let mut batch = self.batch();
            request(&mut batch);
            let span = Span { first: self.seq, last: batch.last_seq(), whole: false };
            self.send(&batch)?;
            let (mut found, mut torn) = (Vec::new(), false);
            let refused = self.answers(span, |message| {
                torn |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                found.extend(object(message));
            })?;
            match refused.into_iter().next() {
                Some(refusal) => return Ok(Err(refusal)),
                None if torn => {}
                None => return Ok(Ok(found)),
            }
        }
        Err(Error::new(
            Kind::Failed,
            "list kernel objects",
            "they changed under every one of the attempts to list them",
        ))
    }

    /// The first object of a dump for which `object` gives something; none too where it comes
    /// in a dump that the kernel calls inconsistent. What is behind it isn't read, for which the
    /// kernel keeps a socket busy: nothing else can be asked with this one any more.
    pub(super) fn search<T>(
        &mut self,
        request: impl FnOnce(&mut Batch),
        object: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Result<Option<T>, Refusal>> {
        let mut batch = self.batch();
        request(&mut batch);
        let span = Span { first: self.seq, last: batch.last_seq(), whole: false };
        self.send(&batch)?;
        let mut found = None;
        let refused = self.answers_until(span, |message| {
            found = object(message);
            found.is_some()
        })?;
        Ok(refused.into_iter().next().map_or(Ok(found), Err))
    }

    fn send(&mut self, batch: &Batch) -> Result<()> {
        self.seq = batch.next_seq();
        if batch.bytes().len() > USUAL_SEND {
            // Needs CAP_NET_ADMIN over the first user namespace; where that is
            // missing, the send says EMSGSIZE and nothing has happened.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(
                &self.fd,
                2 * batch.bytes().len(),
            );
        }
        let sent = rustix::net::send(&self.fd, batch.bytes(), SendFlags::empty())
            .ctx(|| "send a netlink request".into())?;
        if sent == batch.bytes().len() {
            Ok(())
        } else {
            Err(Error::new(
                Kind::Failed,
                "send a netlink request",
                "the kernel took only a part of it",
            ))
        }
    }

    /// Reads until the last message of the span is answered.
    fn answers(
        &mut self,
        span: Span,
        mut object: impl FnMut(&Message<'_>),
    ) -> Result<Vec<Refusal>> {
        self.answers_until(span, |message| {
            object(message);
            false
        })
    }

    /// Reads until the last message of the span is answered, or an object is enough. The
    /// kernel works through a request before `send` returns, so an answer that isn't there
    /// will never be: no wait, no hang.
    fn answers_until(
        &mut self,
        span: Span,
        mut enough: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<Vec<Refusal>> {
        let mut refused = Vec::new();
        loop {
            let len = self.receive()?;
            for message in messages(&self.buffer[..len]) {
                let message = message.map_err(|e| {
                    Error::new(Kind::Failed, "read a netlink answer", e.to_string())
                })?;
                if message.seq < span.first || message.seq > span.last {
                    continue; // an answer to something that was given up
                }
                let last = message.seq == span.last;
                match message.answer() {
                    Answer::Object if enough(&message) => return Ok(refused),
                    Answer::Object => {}
                    Answer::Ack | Answer::Done if last => return Ok(refused),
                    Answer::Ack | Answer::Done => {}
                    Answer::Error { errno, extack } => {
                        refused.push(Refusal { seq: message.seq, errno, extack });
                        if last || (span.whole && message.seq == span.first) {
                            return Ok(refused);
                        }
                    }
                }
            }
        }
    }

    fn receive_any(&mut self) -> rustix::io::Result<usize> {
        self.buffer.clear();
        self.buffer.reserve(BUFFER);
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        // Most answers are short: what they don't fill is neither cleared nor touched.
        rustix::net::recv(&self.fd, spare_capacity(&mut self.buffer), flags).map(|(_, len)| len)
    }

    fn receive(&mut self) -> Result<usize> {
        let len = self.receive_any().ctx(|| "read a netlink answer".into())?;
        if len > self.buffer.len() {
            return Err(Error::new(
                Kind::Failed,
                "read a netlink answer",
                format!("it has {len} bytes, more than expected"),
            ));
        }
        Ok(len)
    }
}

/// Bytes that a socket's send buffer surely holds (net.core.wmem_default is 212,992).
const USUAL_SEND: usize = 64 * 1024;

/// How often a dump that changed while it was read is asked for again.
const DUMP_TRIES: u32 = 50;

/// The kernel cuts a dump into pieces of at most 32 KiB (netlink_dump).
const BUFFER: usize = 32 * 1024;

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
