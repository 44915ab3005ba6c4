//! The forms that end in `Scm`: whoever calls, a proxy as a rule, passes on who asks for it, and
//! which process or owner is meant, as credentials over a socket. The call itself is answered at
//! once; what follows is told on the socket, and holds up nobody.

mod answer;
mod forms;
mod talk;

use std::time::Duration;

use cgroupd_proto::{ErrorName, Method};
use nix::errno::Errno;
use serde::Deserialize;
use tokio::runtime::Handle;
use zbus::zvariant::Type;
use zbus::{Fd, Message};

use super::Asked;
use crate::accounting::Turns;
use crate::api::client::Client;
use crate::caller::{Caller, Passed};
use crate::service::{Request, Service};
use crate::transport::PeerSocket;
use crate::{Error, Result};
use answer::Answer;
use forms::{FORMS, Form, Second, Work, gone};
use talk::{Talk, is_fit};

/// A call that is to be carried out, and the socket that came with it.
#[derive(Debug)]
pub(in crate::api) struct Order {
    call: Call,
    socket: PeerSocket,
}

/// What is asked for, but for who asks and whom it is about.
#[derive(Debug)]
struct Call {
    method: &'static Method,
    form: &'static Form,
    words: Vec<String>,
    number: i32,
}

/// Whose call it is, and what it needs.
#[derive(Clone, Copy)]
pub(in crate::api) struct Context<'a> {
    pub(in crate::api) service: &'a Service,
    /// Who has made the call.
    pub(in crate::api) proxy: &'a Caller,
    pub(in crate::api) calls: &'a Turns,
    pub(in crate::api) runtime: &'a Handle,
}

impl Order {
    /// Reads a call whose signature fits.
    ///
    /// # Errors
    /// When its descriptor is no socket that can be used.
    pub(super) fn read(client: &Client, call: &Message, method: &'static Method) -> Result<Self> {
        let form = FORMS.iter().find(|form| form.member == method.member).ok_or_else(|| {
            Error::new(ErrorName::NotSupported, format!("{} is not there", method.member))
        })?;
        let body = call.body();
        let (words, number, descriptor) = arguments(&body, &method.signature())?;
        let socket = client.take_socket(descriptor).ok_or_else(|| unfit(Errno::ENOTSOCK))?;
        match is_fit(&socket) {
            true => Ok(Self { call: Call { method, form, words, number }, socket }),
            false => Err(unfit(Errno::EINVAL)),
        }
    }

    /// Learns who asks, does it, and tells the result. Whoever is silent learns nothing. This
    /// thread waits for the other end, and may wait for ever when the socket is closed.
    pub(in crate::api) fn carry_out(self, context: Context<'_>) {
        let Self { call, socket } = self;
        let (uid, pid) = (context.proxy.uid, context.proxy.process.pid);
        let done = Talk::over(socket, &context.proxy.process)
            .and_then(|talk| call.converse(&talk, context));
        if let Err(error) = done {
            tracing::debug!(uid, pid, call = call.method.member, %error, "a conversation broke off");
        }
    }
}

impl<'a> Context<'a> {
    /// Who asks, if the one who made the call may speak for it now: by what is read here it is also
    /// decided what it may do.
    fn asked(self, requestor: &'a Caller) -> Result<Asked<'a>> {
        let Self { service, proxy, .. } = self;
        let request = Request::new(service, requestor)?;
        Request::new(service, proxy)?.check_speaks_for(&request)?;
        Ok(Asked { service, request })
    }
}

impl Call {
    fn converse(&self, talk: &Talk<'_>, context: Context<'_>) -> std::io::Result<()> {
        let first = talk.ask()?;
        let second = match self.form.second {
            Second::Nothing => None,
            Second::Process | Second::Owner => Some(talk.ask()?),
        };
        self.answer(first, second, (context, talk.left())).tell(talk)
    }

    fn answer(
        &self,
        first: Passed,
        second: Option<Passed>,
        (context, left): (Context<'_>, Duration),
    ) -> Answer {
        let Context { service, proxy, .. } = context;
        let requestor = Request::new(service, proxy).and_then(|request| request.requestor(first));
        let (asker, result) = match &requestor {
            Err(error) => (proxy, Err(error.clone())),
            Ok(requestor) => (requestor, self.in_turn(requestor, second, (context, left))),
        };
        let path = self.words.get(1).map_or("", String::as_str);
        let through = format!(" through pid={} uid={}", proxy.process.pid, proxy.uid);
        let outcome = result.as_ref().map(drop).map_err(Clone::clone);
        super::record(service, asker, (self.method, &through), path, &outcome);
        result.unwrap_or_else(|_| self.form.failed.clone())
    }

    fn in_turn(
        &self,
        requestor: &Caller,
        second: Option<Passed>,
        (context, left): (Context<'_>, Duration),
    ) -> Result<Answer> {
        // Nobody waits among the calls of somebody for whom it may not speak.
        context.asked(requestor)?;
        let turn = context.calls.turn(requestor.account);
        let turn = context.runtime.block_on(async { tokio::time::timeout(left, turn).await });
        let busy = || {
            let text = "other calls of this caller are under way, or the daemon is stopping";
            Error::new(ErrorName::Busy, text).hint("try again")
        };
        let _turn = turn.ok().flatten().ok_or_else(busy)?;
        self.work(context.asked(requestor)?, second, context.proxy)
    }

    fn work(&self, asked: Asked<'_>, second: Option<Passed>, proxy: &Caller) -> Result<Answer> {
        let owner = second.as_ref().map(|passed| passed.credentials);
        let victim = match self.form.second {
            Second::Process => second.map(Passed::process).transpose().map_err(gone)?,
            Second::Nothing | Second::Owner => None,
        };
        let (words, number) = (&self.words[..], self.number);
        (self.form.run)(&Work { asked, words, number, proxy, owner, victim })
    }
}

/// The words, the number where there is one, and the descriptor.
fn arguments<'b>(
    body: &'b zbus::message::Body,
    signature: &str,
) -> Result<(Vec<String>, i32, Fd<'b>)> {
    fn read<'b, T: Deserialize<'b> + Type>(body: &'b zbus::message::Body) -> Result<T> {
        let parsed = body.deserialize_ignore_signature::<T>();
        parsed.map_err(|error| Error::new(ErrorName::InvalidArgument, error.to_string()))
    }
    Ok(match signature {
        "sh" => {
            let (a, fd): (String, Fd<'b>) = read(body)?;
            (vec![a], 0, fd)
        }
        "ssh" => {
            let (a, b, fd): (String, String, Fd<'b>) = read(body)?;
            (vec![a, b], 0, fd)
        }
        "sssh" => {
            let (a, b, c, fd): (String, String, String, Fd<'b>) = read(body)?;
            (vec![a, b, c], 0, fd)
        }
        "ssssh" => {
            let (a, b, c, d, fd): (String, String, String, String, Fd<'b>) = read(body)?;
            (vec![a, b, c, d], 0, fd)
        }
        "ssih" => {
            let (a, b, number, fd): (String, String, i32, Fd<'b>) = read(body)?;
            (vec![a, b], number, fd)
        }
        _ => {
            let (a, b, c, number, fd): (String, String, String, i32, Fd<'b>) = read(body)?;
            (vec![a, b, c], number, fd)
        }
    })
}

/// A descriptor over which nobody can be asked.
fn unfit(errno: Errno) -> Error {
    super::said(&format!("Failed to set passcred: {}", errno.desc()))
}
