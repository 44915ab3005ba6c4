//! What is charged to whom at the moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Account, Bounds, Group, Resource};

/// The accounts of all peers. One that nothing is charged to takes no memory.
#[derive(Debug)]
pub struct Accounts {
    bounds: RwLock<Bounds>,
    used: Mutex<Used>,
}

type Used = HashMap<(Group, Resource), usize>;

/// Why something cannot be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {used} of at most {bound} {resource}{}", has(*who), asked(*more))]
pub struct Full {
    /// The account, or the group that it belongs to.
    who: Group,
    /// What there is not enough of.
    resource: Resource,
    /// How much of it is charged.
    used: usize,
    /// How much more was asked for.
    more: usize,
    /// How much may be.
    bound: usize,
}

fn has(who: Group) -> String {
    match who {
        Group::Account(account) => format!("{account} has"),
        Group::UserInContainers(uid) => format!("uid:{uid} has in all containers together"),
        Group::Containers => "all containers of root's together have".to_owned(),
        Group::Others => "all accounts but root's together have".to_owned(),
    }
}

fn asked(more: usize) -> String {
    if more == 1 { String::new() } else { format!(", and needs {more} more") }
}

impl Full {
    /// Whether it can never be charged, however much others give back.
    pub(crate) fn is_for_good(&self) -> bool {
        self.more > self.bound
    }

    /// How much may be charged.
    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// Who has too much.
    pub(crate) fn who(&self) -> Group {
        self.who
    }

    /// Whether what this account has is part of what is too much.
    pub fn counts(&self, account: Account) -> bool {
        account.groups().any(|group| group == self.who)
    }
}

/// An amount of a resource, charged to an account until this is dropped.
#[derive(Debug)]
pub struct Charge {
    accounts: Arc<Accounts>,
    account: Account,
    resource: Resource,
    amount: usize,
}

impl Accounts {
    /// Nothing is charged yet.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds: RwLock::new(bounds), used: Mutex::default() })
    }

    /// The bounds for what is charged from now on.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes other bounds, which follow from the present ones. What is charged already stays, even
    /// where it is more.
    pub fn change_bounds(&self, change: impl FnOnce(Bounds) -> Bounds) {
        let mut bounds = self.bounds.write().unwrap_or_else(PoisonError::into_inner);
        *bounds = change(*bounds);
    }

    /// Charges `amount` of a resource to an account.
    ///
    /// # Errors
    /// When the account, or a group that it belongs to, would have too much.
    pub fn charge(
        self: &Arc<Self>,
        account: Account,
        resource: Resource,
        amount: usize,
    ) -> Result<Charge, Full> {
        self.charge_within(account, resource, amount, None)
    }

    /// As [`Self::charge`], where another bound may be given for this account.
    ///
    /// # Errors
    /// As [`Self::charge`].
    pub fn charge_within(
        self: &Arc<Self>,
        account: Account,
        resource: Resource,
        amount: usize,
        most: Option<usize>,
    ) -> Result<Charge, Full> {
        let mut charge = self.empty_charge(account, resource);
        charge.grow(amount, most)?;
        Ok(charge)
    }

    /// A charge of nothing yet, to grow.
    pub fn empty_charge(self: &Arc<Self>, account: Account, resource: Resource) -> Charge {
        Charge { accounts: Arc::clone(self), account, resource, amount: 0 }
    }

    /// Charges what exists already, however much the account has. Nothing more can be charged to it
    /// while that is too much.
    pub fn charge_unchecked(
        self: &Arc<Self>,
        account: Account,
        resource: Resource,
        amount: usize,
    ) -> Charge {
        add(&mut self.lock(), (account, resource), amount);
        let mut charge = self.empty_charge(account, resource);
        charge.amount = amount;
        charge
    }

    /// Whether there is room for so much more.
    ///
    /// # Errors
    /// As [`Self::charge`].
    pub fn check(&self, account: Account, resource: Resource, amount: usize) -> Result<(), Full> {
        let bounds = self.bounds().row(resource);
        let used = self.lock();
        let mut groups = account.groups();
        groups.try_for_each(|who| has_room(&used, (who, resource), 0, amount, bounds.of(who)))
    }

    /// How much of a resource is charged to an account.
    #[cfg(test)]
    pub(crate) fn used(&self, account: Account, resource: Resource) -> usize {
        let group = account.groups().next();
        group.and_then(|group| self.lock().get(&(group, resource)).copied()).unwrap_or(0)
    }

    /// All that is charged: to whom, what, how much of it, and how much may be.
    pub(crate) fn all(&self) -> Vec<(Group, Resource, usize, usize)> {
        let bounds = self.bounds();
        let row = |(&(who, resource), &used): (&(Group, Resource), &usize)| {
            (who, resource, used, bounds.row(resource).of(who))
        };
        let mut rows: Vec<_> = self.lock().iter().map(row).collect();
        rows.sort_unstable();
        rows
    }

    /// Whether nothing is charged to anybody.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// Charges `more` of the same; `most` is the account's own bound, where it is not the usual one.
    ///
    /// # Errors
    /// As [`Accounts::charge`]; what was charged stays.
    pub fn grow(&mut self, more: usize, most: Option<usize>) -> Result<(), Full> {
        let (bounds, resource) = (self.accounts.bounds().row(self.resource), self.resource);
        let mut used = self.accounts.lock();
        for (level, who) in self.account.groups().enumerate() {
            let bound = most.filter(|_| level == 0).unwrap_or_else(|| bounds.of(who));
            has_room(&used, (who, resource), 0, more, bound)?;
        }
        add(&mut used, (self.account, resource), more);
        self.amount += more;
        Ok(())
    }

    /// Charges it to another account instead.
    ///
    /// # Errors
    /// As [`Accounts::charge`]; then it stays where it was.
    pub fn move_to(&mut self, account: Account) -> Result<(), Full> {
        let (old, resource, more) = (self.account, self.resource, self.amount);
        let bounds = self.accounts.bounds().row(resource);
        let mut used = self.accounts.lock();
        for who in account.groups() {
            let own = if old.groups().any(|group| group == who) { more } else { 0 };
            has_room(&used, (who, resource), own, more, bounds.of(who))?;
        }
        subtract(&mut used, (old, resource), more);
        add(&mut used, (account, resource), more);
        self.account = account;
        Ok(())
    }

    /// A part of it as a charge of its own; `None` where there is less.
    pub fn split(&mut self, part: usize) -> Option<Self> {
        self.amount = self.amount.checked_sub(part)?;
        let mut split = self.empty();
        split.amount = part;
        Some(split)
    }

    /// A charge of nothing to the same account, of the same resource.
    pub fn empty(&self) -> Self {
        self.accounts.empty_charge(self.account, self.resource)
    }

    /// Adds another charge of the same resource to the same account.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert_eq!((self.account, self.resource), (other.account, other.resource));
        self.amount += std::mem::take(&mut other.amount);
    }

    /// Gives some of it back.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.amount);
        if less == 0 {
            return;
        }
        self.amount -= less;
        subtract(&mut self.accounts.lock(), (self.account, self.resource), less);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.amount);
    }
}

/// Whether a group may have `more` of a resource, where `own` of what it has is given back for it.
fn has_room(
    used: &Used,
    (who, resource): (Group, Resource),
    own: usize,
    more: usize,
    bound: usize,
) -> Result<(), Full> {
    let taken = used.get(&(who, resource)).map_or(0, |taken| taken.saturating_sub(own));
    match taken.saturating_add(more) > bound {
        true => Err(Full { who, resource, used: taken, more, bound }),
        false => Ok(()),
    }
}

/// Nothing is kept in memory for a charge of nothing.
fn add(used: &mut Used, (account, resource): (Account, Resource), more: usize) {
    if more == 0 {
        return;
    }
    for who in account.groups() {
        *used.entry((who, resource)).or_default() += more;
    }
}

fn subtract(used: &mut Used, (account, resource): (Account, Resource), less: usize) {
    for who in account.groups() {
        if let Some(taken) = used.get_mut(&(who, resource)) {
            *taken -= less;
            if *taken == 0 {
                used.remove(&(who, resource));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::namespace::NsId;
    use crate::transport::Limits;

    const ALICE: Account = Account::User(1000);
    const BOB: Account = Account::User(1001);

    fn accounts(connections_per_key: usize, connections: usize) -> Arc<Accounts> {
        let limits = Limits { connections_per_key, connections, ..Limits::default() };
        Accounts::new(Bounds::new(&limits, 100))
    }

    fn connect(accounts: &Arc<Accounts>, account: Account) -> Result<Charge, Full> {
        accounts.charge(account, Resource::Connections, 1)
    }

    fn container(inode: u32, user: Option<u32>) -> Account {
        Account::Container { namespace: NsId::parse("4", &inode.to_string()).unwrap(), user }
    }

    #[test]
    fn an_account_has_its_bound_and_others_do_not_notice() {
        let accounts = accounts(2, 100);
        let charges = [connect(&accounts, ALICE).unwrap(), connect(&accounts, ALICE).unwrap()];
        let full = connect(&accounts, ALICE).unwrap_err();
        assert!(full.counts(ALICE) && !full.counts(BOB));
        assert!(connect(&accounts, BOB).is_ok() && connect(&accounts, Account::HostRoot).is_ok());
        drop(charges);
        assert!(connect(&accounts, ALICE).is_ok());
        assert!(accounts.is_empty());
    }

    #[test]
    fn host_root_has_a_share_when_all_others_have_everything() {
        let accounts = accounts(2, 4);
        let users = (1000..1004).map(|uid| connect(&accounts, Account::User(uid)).unwrap());
        let _users: Vec<_> = users.collect();
        let full = connect(&accounts, Account::User(1)).unwrap_err();
        assert!(full.counts(ALICE) && !full.counts(Account::HostRoot));
        assert!(connect(&accounts, container(1, None)).is_err());
        assert!(connect(&accounts, Account::HostRoot).is_ok());
    }

    #[test]
    fn one_of_roots_containers_leaves_room_for_others() {
        let accounts = accounts(2, 16);
        let mut held: Vec<_> =
            (0..2).map(|_| connect(&accounts, container(1, None)).unwrap()).collect();
        assert!(connect(&accounts, container(1, Some(7))).is_err(), "it is the same container");
        held.extend((2..8).map(|n| connect(&accounts, container(n, None)).unwrap()));
        let full = connect(&accounts, container(9, None)).unwrap_err();
        assert_eq!(full.who, Group::Containers);
        assert!(connect(&accounts, Account::Confined).is_err());
        assert!(connect(&accounts, ALICE).is_ok(), "users have the other half");
    }

    #[test]
    fn a_user_that_makes_containers_has_a_quarter_of_what_others_have() {
        let accounts = accounts(2, 16);
        let own = |n| connect(&accounts, container(n, Some(1000)));
        let _held: Vec<_> = (1..5).map(|n| own(n).unwrap()).collect();
        assert_eq!(own(9).unwrap_err().who, Group::UserInContainers(1000));
        assert!(connect(&accounts, container(9, Some(1001))).is_ok());
        assert!(connect(&accounts, container(9, None)).is_ok());
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let accounts = accounts(2, 100);
        let mut charge = accounts.charge(ALICE, Resource::Bytes, 1 << 20).unwrap();
        assert!(charge.grow(6 << 20, None).is_err());
        assert_eq!(accounts.used(ALICE, Resource::Bytes), 1 << 20);
        charge.grow(1 << 20, None).unwrap();
        charge.shrink(usize::MAX);
        let _nothing = accounts.charge(ALICE, Resource::Descriptors, 0).unwrap();
        assert!(accounts.is_empty());
        assert!(accounts.charge_within(ALICE, Resource::Cgroups(0), 5, Some(4)).is_err());
        assert!(accounts.charge_within(ALICE, Resource::Cgroups(0), 500, Some(500)).is_ok());
    }

    #[test]
    fn what_is_moved_to_another_account_is_counted_once() {
        let accounts = accounts(2, 2);
        let _other = connect(&accounts, BOB).unwrap();
        let mut charge = connect(&accounts, ALICE).unwrap();
        charge.move_to(BOB).unwrap();
        assert_eq!(accounts.used(BOB, Resource::Connections), 2);
        let mut unknown = accounts.charge(Account::Unidentified, Resource::Clients, 1).unwrap();
        assert!(connect(&accounts, ALICE).is_err());
        unknown.move_to(Account::HostRoot).unwrap();
        drop((charge, unknown));
        assert_eq!(accounts.used(ALICE, Resource::Connections), 0);
        assert!(connect(&accounts, ALICE).is_ok());
    }

    #[test]
    fn the_error_says_who_has_how_much_of_what() {
        let accounts = accounts(1, 100);
        let _one = connect(&accounts, ALICE).unwrap();
        let text = connect(&accounts, ALICE).unwrap_err().to_string();
        assert_eq!(text, "uid:1000 has 1 of at most 1 connections");
    }
}
