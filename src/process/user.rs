//! From the words of `--agent-user` to the ids, groups and home that an agent of another user gets.

use std::path::PathBuf;

use nix::unistd::{self, Gid, Group, Uid};

use super::spawn::User;

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

impl User {
    /// Looks up `USER[:GROUP]`, each a name or a number.
    ///
    /// # Errors
    /// A sentence for people: there is none of that name.
    pub fn lookup(words: &str) -> Result<Account, String> {
        let (user, group) = words.split_once(':').map_or((words, None), |(user, group)| (user, Some(group)));
        let unknown = |what: &str, name: &str| format!("--agent-user {words}: this machine has no {what} {name:?}");
        let account = match user.parse::<u32>() {
            Ok(uid) => unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten().ok_or(uid),
            Err(_) => Ok(unistd::User::from_name(user).ok().flatten().ok_or_else(|| unknown("user", user))?),
        };
        let group = match group {
            None => None,
            Some(group) => Some(match group.parse::<u32>() {
                Ok(gid) => gid,
                Err(_) => {
                    let found = Group::from_name(group).ok().flatten();
                    found.ok_or_else(|| unknown("group", group))?.gid.as_raw()
                }
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
        let error = User::lookup("no such user").unwrap_err();
        assert_eq!(error, "--agent-user no such user: this machine has no user \"no such user\"");
        assert!(User::lookup("root:no such group").unwrap_err().contains("group"));
    }
}
