//! The other processes of the play.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::say::Result;

/// A process of this executable in another role, with a line each way. Ended when dropped.
pub(super) struct Actor {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts the part `name` with one argument.
    pub(super) fn start(name: &str, argument: &str) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args([name, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let input = input.ok_or("no standard input")?;
        let output = BufReader::new(output.ok_or("no standard output")?);
        Ok(Self { child, input, output })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives the cue to go on.
    pub(super) fn cue(&mut self) -> Result<()> {
        self.input.write_all(b"\n")?;
        Ok(())
    }

    /// The next line it says; `None` at its end.
    pub(super) fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end().to_owned()))
    }

    pub(super) fn wait(&mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a line from whoever started this process.
pub(super) fn await_cue() -> Result<()> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line)? {
        0 => Err("the stage is gone".into()),
        _ => Ok(()),
    }
}

/// Says it is ready, waits, then fills `megabytes` of memory and holds them.
pub(super) fn eat(megabytes: &str) -> Result<()> {
    let megabytes: usize = megabytes.parse()?;
    println!("ready");
    await_cue()?;
    let mut held = Vec::new();
    for _ in 0..megabytes {
        held.push(vec![1u8; 1 << 20]);
    }
    println!("{} MiB held", held.len());
    await_cue()
}
