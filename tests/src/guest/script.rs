//! What one guest is to do, as the archive that its init reads.

use super::Mode;
use super::cpio::Archive;

/// The archive with the layout and the command.
pub(super) fn archive(
    mode: Mode,
    directory: &str,
    env: &[(String, String)],
    command: &[String],
) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.directory("job");
    archive.file("job/mode", format!("{mode}\n").as_bytes());
    archive.file("job/command", script(directory, env, command).as_bytes());
    archive.finish()
}

/// A script of `sh` that becomes the command.
fn script(directory: &str, env: &[(String, String)], command: &[String]) -> String {
    // Elsewhere than was meant it would do something else.
    let mut script = format!("cd {} || exit 125\n", quoted(directory));
    script.push_str("export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    script.push_str("export HOME=/root LANG=C.UTF-8\n");
    for (name, value) in env {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    script + "exec " + &words.join(" ") + "\n"
}

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_shell_sees_the_words_that_were_given() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME", "", "`x`\n"].map(str::to_owned);
        let env = [("A".to_owned(), "x 'y'".to_owned())];
        let script = super::script("/", &env, &words);
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh is there");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b|it's|$HOME||`x`\n|");
    }
}
