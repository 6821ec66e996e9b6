//! From the words of `--agent-user` to the ids, groups and home that an agent of another user gets.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Group, Uid};

use super::spawn::User;
use crate::quoted::quoted;
use crate::shortage::Shortage;

/// A user of this machine, or at least a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the agent becomes.
    pub user: User,
    /// Its name; `None` for a number that the machine has no name for.
    pub name: Option<String>,
    /// Its home; `/` for such a number.
    pub home: PathBuf,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
pub enum NoAccount {
    /// Nobody of that name.
    #[error("{0}")]
    Unknown(String),
    /// The system has not enough left to look.
    #[error("cannot look up the agent's user: {0}")]
    System(io::Error),
}

impl User {
    /// Looks up `USER[:GROUP]`, each a name or a number.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be looked for.
    pub fn lookup(words: &str) -> Result<Account, NoAccount> {
        // The number that the kernel takes for "as it is".
        let nobody = |number: u32, what: &str| match number {
            u32::MAX => Err(NoAccount::Unknown(format!("--agent-user {words}: {number} is the number of no {what}"))),
            number => Ok(number),
        };
        let (user, group) = words.split_once(':').map_or((words, None), |(user, group)| (user, Some(group)));
        let unknown = |what: &str, name: &str| {
            NoAccount::Unknown(format!("--agent-user {words}: this machine has no {what} {}", quoted(name)))
        };
        let account = match user.parse::<u32>() {
            Ok(uid) => found(unistd::User::from_uid(Uid::from_raw(nobody(uid, "user")?)))?.ok_or(uid),
            Err(_) => Ok(found(unistd::User::from_name(user))?.ok_or_else(|| unknown("user", user))?),
        };
        let group = match group {
            None => None,
            Some(group) => Some(match group.parse::<u32>() {
                Ok(gid) => nobody(gid, "group")?,
                Err(_) => found(Group::from_name(group))?.ok_or_else(|| unknown("group", group))?.gid.as_raw(),
            }),
        };
        let account = match account {
            Ok(found) => {
                let gid = group.unwrap_or(found.gid.as_raw());
                let groups = supplementary(&found.name, gid);
                let user = User { uid: found.uid.as_raw(), gid, groups };
                Account { user, name: Some(found.name), home: found.dir }
            }
            Err(uid) => {
                let gid = group.unwrap_or(uid);
                Account { user: User { uid, gid, groups: vec![gid] }, name: None, home: PathBuf::from("/") }
            }
        };
        Ok(account)
    }
}

/// What was found; a directory of users that cannot be asked counts as one that does not know them, unless it is us who
/// lack what it takes to ask.
fn found<T>(answer: Result<Option<T>, Errno>) -> Result<Option<T>, NoAccount> {
    match answer {
        Err(errno) if Shortage::of(errno).is_some() => Err(NoAccount::System(errno.into())),
        answer => Ok(answer.ok().flatten()),
    }
}

fn supplementary(name: &str, gid: u32) -> Vec<u32> {
    let Ok(name) = std::ffi::CString::new(name) else { return vec![gid] };
    let groups = unistd::getgrouplist(&name, Gid::from_raw(gid)).unwrap_or_default();
    groups.into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let root = User::lookup("root").unwrap();
        assert_eq!((root.user.uid, root.user.gid, root.name.as_deref()), (0, 0, Some("root")));
        assert_eq!(User::lookup("0").unwrap(), root);
        let number = User::lookup("54321:54322").unwrap();
        assert_eq!(number.user, User { uid: 54321, gid: 54322, groups: vec![54322] });
        assert_eq!((number.name, number.home), (None, PathBuf::from("/")));
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = User::lookup("no such user").unwrap_err().to_string();
        assert_eq!(error, "--agent-user no such user: this machine has no user \"no such user\"");
        for (words, what) in [("4294967295", "user"), ("root:4294967295", "group")] {
            let error = User::lookup(words).unwrap_err().to_string();
            assert_eq!(error, format!("--agent-user {words}: 4294967295 is the number of no {what}"));
        }
        assert!(User::lookup("root:no such group").unwrap_err().to_string().contains("group"));
    }
}
