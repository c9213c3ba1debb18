//! What every way in asks: who may log in, which home and which rights that gives.
//!
//! Accounts follow the configuration while the server runs: quotas and rights change under open
//! sessions; a removed user's sessions, or those under an old password or home, are told to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use ftp_proto::scram::{KEY_BYTES, Lot, Verifier};
use ftp_store::{Home, Quota, Store};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::{Limits, Rights, UserConfig};
use crate::pace::{Rates, Toll};
use crate::secret;
use crate::transfers::Transfers;

/// All accounts, and the store behind them.
pub(crate) struct Site {
    store: Store,
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
    transfers: Transfers,
    /// Makes up verifiers for unknown users, the same ones after every restart.
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

/// A user.
pub(crate) struct Account {
    verifier: Verifier,
    /// For unknown users, who have to look like somebody.
    lot: Lot,
    home: PathBuf,
    revoked: CancellationToken,
    terms: Mutex<Terms>,
    toll: Toll,
}

struct Terms {
    quota: Quota,
    rights: Rights,
    max_sessions: usize,
    /// Bytes a second up and down.
    flow: [Option<u64>; 2],
    sessions: usize,
    opened: Option<Home>,
}

/// A session's place among those of its user, given back when dropped.
pub(crate) struct Seat {
    account: Arc<Account>,
}

/// How a reload changed the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
}

/// The user has as many sessions as allowed, namely so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user has {0} sessions, as many as allowed")]
pub(crate) struct TooManySessions(pub(crate) usize);

impl Site {
    /// A site without accounts. Reads the secret, or makes one.
    pub(crate) fn new(store: Store, state: &Path) -> Result<Self> {
        let secret = secret::load(state)?;
        Ok(Self {
            store,
            accounts: Mutex::default(),
            transfers: Transfers::default(),
            secret,
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The transfers that run.
    pub(crate) fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// All accounts by name, as they are now.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Account>)> {
        let all = |(name, account): (&String, &Arc<Account>)| (name.clone(), Arc::clone(account));
        self.accounts().iter().map(all).collect()
    }

    /// The account of this name, as it is now.
    pub(crate) fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts().get(name).cloned()
    }

    /// Brings the accounts in line with the configuration.
    pub(crate) fn apply(&self, users: &BTreeMap<String, UserConfig>, limits: &Limits) -> Changes {
        let mut changes = Changes::default();
        let mut accounts = self.accounts();
        accounts.retain(|name, account| {
            let stays = users.contains_key(name);
            if !stays {
                account.revoked.cancel();
                changes.removed += 1;
            }
            stays
        });
        for (name, user) in users {
            match accounts.get(name) {
                Some(account) if account.verifier == user.verifier && account.home == user.home => {
                    changes.changed += usize::from(account.follow(user));
                    account.toll.follow(Rates::of_user(user, limits));
                }
                present => {
                    match present {
                        Some(account) => {
                            account.revoked.cancel();
                            changes.changed += 1;
                        }
                        None => changes.added += 1,
                    }
                    let lot = Lot::new(&self.secret, name);
                    accounts.insert(name.clone(), Arc::new(Account::new(lot, user, limits)));
                }
            }
        }
        changes
    }

    /// The verifier to check a login against, and the account behind it. An unknown user has a made-up
    /// verifier and no account.
    pub(crate) fn look_up(&self, user: &str) -> (Verifier, Option<Arc<Account>>) {
        let accounts = self.accounts();
        // Made up in any case, so that both take the same time.
        let users = accounts.values().map(|account| (account.lot, &account.verifier));
        let made_up = Verifier::for_unknown(&self.secret, user, users);
        match accounts.get(user) {
            Some(account) => (account.verifier.clone(), Some(Arc::clone(account))),
            None => (made_up, None),
        }
    }

    /// Opens every home, so that usage is counted and the leftovers of a crash are cleared away before
    /// their users come. `failed` is told the user's name and why.
    pub(crate) async fn open_all(&self, failed: impl Fn(&str, &ftp_store::Error)) {
        for (name, account) in self.all() {
            if let Err(error) = self.open(&account).await {
                failed(&name, &error);
            }
        }
    }

    /// Opens the home of an account. The first time its usage is counted, which takes a while when there
    /// are many files.
    pub(crate) async fn open(&self, account: &Account) -> Result<Home, ftp_store::Error> {
        let quota = account.terms().quota;
        let home = self.store.open_home(&account.home, quota).await?;
        let mut terms = account.terms();
        // A reload may have changed it meanwhile.
        home.set_quota(terms.quota);
        terms.opened = Some(home.clone());
        Ok(home)
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn new(lot: Lot, user: &UserConfig, limits: &Limits) -> Self {
        let terms = Terms {
            quota: quota(user),
            rights: user.rights,
            max_sessions: user.max_sessions,
            flow: flow(user),
            sessions: 0,
            opened: None,
        };
        Self {
            verifier: user.verifier.clone(),
            lot,
            home: user.home.clone(),
            revoked: CancellationToken::new(),
            terms: Mutex::new(terms),
            toll: Toll::new(Rates::of_user(user, limits)),
        }
    }

    /// What the user may do now.
    pub(crate) fn rights(&self) -> Rights {
        self.terms().rights
    }

    /// The rates that all sessions of this account share.
    pub(crate) fn toll(&self) -> &Toll {
        &self.toll
    }

    /// Cancelled when sessions of this account have to end.
    pub(crate) fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }

    /// Takes over what may change under open sessions. Whether anything did.
    fn follow(&self, user: &UserConfig) -> bool {
        let mut terms = self.terms();
        let quota = quota(user);
        let new = (quota, user.rights, user.max_sessions, flow(user));
        let changed = (terms.quota, terms.rights, terms.max_sessions, terms.flow) != new;
        (terms.quota, terms.rights, terms.max_sessions, terms.flow) = new;
        if let Some(home) = &terms.opened {
            home.set_quota(quota);
        }
        changed
    }

    /// How many sessions the user has, and may have.
    pub(crate) fn sessions(&self) -> (usize, usize) {
        let terms = self.terms();
        (terms.sessions, terms.max_sessions)
    }

    /// The home's directory.
    pub(crate) fn home_dir(&self) -> &Path {
        &self.home
    }

    /// The home, once somebody has opened it.
    pub(crate) fn opened(&self) -> Option<Home> {
        self.terms().opened.clone()
    }

    /// Takes a place among the sessions of the user.
    pub(crate) fn take_seat(self: &Arc<Self>) -> Result<Seat, TooManySessions> {
        let mut terms = self.terms();
        if terms.sessions >= terms.max_sessions {
            return Err(TooManySessions(terms.sessions));
        }
        terms.sessions += 1;
        Ok(Seat {
            account: Arc::clone(self),
        })
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.account.terms().sessions -= 1;
    }
}

fn flow(user: &UserConfig) -> [Option<u64>; 2] {
    [user.max_upload, user.max_download]
}

fn quota(user: &UserConfig) -> Quota {
    Quota {
        bytes: user.quota,
        entries: user.max_files,
        trash: user.trash,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ftp_proto::Secret;
    use ftp_store::StoreOptions;

    pub(crate) fn user(home: &Path, password: &str) -> UserConfig {
        UserConfig {
            verifier: Verifier::with_salt(&Secret::new(password.to_owned()), b"salt", 4096).unwrap(),
            home: home.to_path_buf(),
            quota: Some(1000),
            max_files: None,
            rights: Rights::ALL,
            max_sessions: 1,
            trash: ftp_store::TrashPolicy::default(),
            max_upload: None,
            max_download: None,
        }
    }

    fn users(list: &[(&str, UserConfig)]) -> BTreeMap<String, UserConfig> {
        list.iter()
            .map(|(name, user)| ((*name).to_owned(), user.clone()))
            .collect()
    }

    #[tokio::test]
    async fn a_reload_revokes_only_whom_it_concerns() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::new(Store::new(StoreOptions::default()), dir.path()).unwrap();
        let (alice, bob) = (user(&dir.path().join("alice"), "a"), user(&dir.path().join("bob"), "b"));
        let changes = site.apply(&users(&[("alice", alice.clone()), ("bob", bob)]), &Limits::default());
        assert_eq!(
            changes,
            Changes {
                added: 2,
                ..Changes::default()
            }
        );
        let (Some(a), Some(b)) = (site.look_up("alice").1, site.look_up("bob").1) else {
            panic!("both are known")
        };
        let home = site.open(&a).await.unwrap();

        let mut richer = alice;
        richer.quota = Some(5000);
        let changes = site.apply(&users(&[("alice", richer)]), &Limits::default());
        assert_eq!(
            changes,
            Changes {
                changed: 1,
                removed: 1,
                ..Changes::default()
            }
        );
        assert!(!a.revoked().is_cancelled());
        assert!(b.revoked().is_cancelled());
        assert_eq!(home.usage().await.unwrap().bytes_limit, Some(5000));

        site.apply(
            &users(&[("alice", user(&dir.path().join("alice"), "new"))]),
            &Limits::default(),
        );
        assert!(a.revoked().is_cancelled());
    }

    #[test]
    fn a_user_has_as_many_sessions_as_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::new(Store::new(StoreOptions::default()), dir.path()).unwrap();
        site.apply(
            &users(&[("alice", user(&dir.path().join("alice"), "a"))]),
            &Limits::default(),
        );
        let alice = site.look_up("alice").1.unwrap();
        let seat = alice.take_seat().unwrap();
        assert_eq!(alice.take_seat().err(), Some(TooManySessions(1)));
        drop(seat);
        alice.take_seat().unwrap();
    }

    #[test]
    fn made_up_verifiers_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let site = |names: &[&str]| {
            let site = Site::new(Store::new(StoreOptions::default()), dir.path()).unwrap();
            let list: Vec<_> = names
                .iter()
                .map(|name| (*name, user(&dir.path().join(name), name)))
                .collect();
            site.apply(&users(&list), &Limits::default());
            site
        };
        let shown = site(&["alice"]).look_up("nobody").0;
        assert_eq!(site(&["alice"]).look_up("nobody").0, shown);
        // Nor do others who come or go say that this one is not there.
        assert_eq!(site(&["bob", "alice", "carol"]).look_up("nobody").0, shown);
        assert_eq!(site(&["carol"]).look_up("nobody").0, shown);
    }
}
