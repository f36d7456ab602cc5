//! The commands about domains, accounts and aliases: what is asked of `admin`, and how its answer is told.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use serde_json::json;
use wire::secret::Secret;

use super::args::{AccountCommand, AddressCommand, AliasCommand, DomainCommand};
use super::ask::Asker;
use super::print::{self, Failure, count, number, octets};
use super::secret;
use crate::admin::{AccountRow, AliasRow, Answer, DomainRow, Kind, Limit, Password, Request, address};
use crate::password;

/// `penfold domain ...`
pub(super) fn domain(ask: &Asker, command: DomainCommand) -> Result<ExitCode, Failure> {
    match command {
        DomainCommand::Add { name, output } => {
            let Answer::DomainAdded { name } = ask.ask(&Request::DomainAdd { name })? else {
                return strange();
            };
            tell(output.json, &json!({"domain": name}), || {
                format!(
                    "{name} is a domain of this server now.\n\
                     Next: `penfold account add NAME@{name}`, an MX record for {name} that names this host, and the \
                     records that `penfold dkim show {name}` prints.\n"
                )
            })
        }
        DomainCommand::List(output) => {
            let Answer::Domains(rows) = ask.ask(&Request::DomainList)? else { return strange() };
            tell(output.json, &rows, || domains(&rows))
        }
        DomainCommand::Remove { name, sure, output } => {
            if !sure.yes {
                let Answer::Domains(rows) = ask.ask(&Request::DomainList)? else { return strange() };
                let wanted = address::domain(&name)?;
                if !rows.iter().any(|row| row.name == wanted) {
                    return Err(crate::admin::Error::NoSuchDomain { name: wanted }.into());
                }
                secret::confirm(false, &name, &format!("No mail for {name} will be taken any more."))?;
            }
            let Answer::DomainRemoved { name } = ask.ask(&Request::DomainRemove { name })? else {
                return strange();
            };
            tell(output.json, &json!({"domain": name}), || {
                format!("{name} is no domain of this server any more.\n")
            })
        }
    }
}

/// `penfold account ...`
pub(super) fn account(ask: &Asker, command: AccountCommand) -> Result<ExitCode, Failure> {
    match command {
        AccountCommand::Add { address, password, output } => {
            let (password, made) = secret::obtain(password, &address)?;
            let request = Request::AccountAdd { address, password: password.clone() };
            let Answer::AccountAdded { id, address } = ask.ask(&request)? else { return strange() };
            let shown = made.then(|| password.reveal());
            tell(output.json, &json!({"id": id, "address": address, "password": shown}), || {
                format!(
                    "The account {address} is there.\n{}",
                    login_lines(&address, made.then_some(&password))
                )
            })
        }
        AccountCommand::List(output) => {
            let Answer::Accounts(rows) = ask.ask(&Request::AccountList)? else { return strange() };
            tell(output.json, &rows, || accounts(&rows))
        }
        AccountCommand::Password { address, password, output } => {
            let (password, made) = secret::obtain(password, &address)?;
            let request = Request::AccountPassword { address, password: password.clone() };
            let Answer::PasswordSet { address } = ask.ask(&request)? else { return strange() };
            let shown = made.then(|| password.reveal());
            tell(output.json, &json!({"address": address, "password": shown}), || {
                format!(
                    "{address} has a new password; sessions with the old one have ended.\n{}",
                    login_lines(&address, made.then_some(&password))
                )
            })
        }
        AccountCommand::Quota { address, storage, messages, none, output } => {
            let limit = |given: Option<u64>| match given {
                Some(limit) => Limit::Set(limit),
                None if none => Limit::None,
                None => Limit::Keep,
            };
            let request =
                Request::AccountQuota { address, storage: limit(storage), messages: limit(messages) };
            let Answer::AccountQuota(row) = ask.ask(&request)? else { return strange() };
            tell(output.json, &row, || {
                let held = format!("{} ({})", count(row.messages, "message"), octets(row.octets));
                match quota(&row) {
                    limits if limits.is_empty() => format!("{} holds {held}, and has no quota.\n", row.login),
                    limits => format!("{} holds {held}. Its quota is {limits}.\n", row.login),
                }
            })
        }
        AccountCommand::Limit { address, messages_a_day, new_recipients_a_day, default, output } => {
            let limit = |given: Option<u64>| match given {
                Some(limit) => Limit::Set(limit),
                None if default => Limit::None,
                None => Limit::Keep,
            };
            let request = Request::AccountLimit {
                address,
                messages: limit(messages_a_day),
                new_recipients: limit(new_recipients_a_day),
            };
            let Answer::AccountLimit(row) = ask.ask(&request)? else { return strange() };
            tell(output.json, &row, || sending(&row))
        }
        AccountCommand::Remove { address, sure, output } => {
            if !sure.yes {
                let loss = what_would_be_lost(ask, &address)?;
                secret::confirm(false, &address, &loss)?;
            }
            let request = Request::AccountRemove { address };
            let Answer::AccountRemoved { address, messages } = ask.ask(&request)? else { return strange() };
            tell(output.json, &json!({"address": address, "messages": messages}), || {
                format!("The account {address} is gone, with {}.\n", count(messages, "message"))
            })
        }
        AccountCommand::Address(command) => account_address(ask, command),
    }
}

/// `penfold account address ...`
fn account_address(ask: &Asker, command: AddressCommand) -> Result<ExitCode, Failure> {
    match command {
        AddressCommand::Add { account, address, output } => {
            let request = Request::AddressAdd { account, address };
            let Answer::AddressAdded { login, address } = ask.ask(&request)? else { return strange() };
            tell(output.json, &json!({"login": login, "address": address}), || {
                format!("{address} is an address of {login} now.\n")
            })
        }
        AddressCommand::Remove { account, address, sure, output } => {
            if !sure.yes {
                is_its_address(ask, &account, &address)?;
                secret::confirm(false, &address, &format!("Mail for {address} will be refused."))?;
            }
            let request = Request::AddressRemove { account, address };
            let Answer::AddressRemoved { login, address } = ask.ask(&request)? else { return strange() };
            tell(output.json, &json!({"login": login, "address": address}), || {
                format!("{address} is no address of {login} any more.\n")
            })
        }
    }
}

/// `penfold alias ...`
pub(super) fn alias(ask: &Asker, command: AliasCommand) -> Result<ExitCode, Failure> {
    match command {
        AliasCommand::Add { address, to, output } => {
            let Answer::AliasAdded(row) = ask.ask(&Request::AliasAdd { address, to })? else {
                return strange();
            };
            tell(output.json, &row, || {
                format!("Mail for {} goes to {} now.\n", row.address, row.to.join(", "))
            })
        }
        AliasCommand::List(output) => {
            let Answer::Aliases(rows) = ask.ask(&Request::AliasList)? else { return strange() };
            tell(output.json, &rows, || aliases(&rows))
        }
        AliasCommand::Remove { address, sure, output } => {
            if !sure.yes {
                let Answer::Aliases(rows) = ask.ask(&Request::AliasList)? else { return strange() };
                let (wanted, _) = address::address(&address)?;
                if !rows.iter().any(|row| row.address == wanted) {
                    return Err(crate::admin::Error::NoSuchAlias { address: wanted }.into());
                }
                secret::confirm(false, &address, &format!("Mail for {address} will be refused."))?;
            }
            let Answer::AliasRemoved { address } = ask.ask(&Request::AliasRemove { address })? else {
                return strange();
            };
            tell(output.json, &json!({"address": address}), || format!("The alias {address} is gone.\n"))
        }
    }
}

pub(super) fn tell(
    as_json: bool,
    value: &impl serde::Serialize,
    words: impl FnOnce() -> String,
) -> Result<ExitCode, Failure> {
    if as_json {
        print::json(value);
    } else {
        print::out(&words());
    }
    Ok(ExitCode::SUCCESS)
}

/// An answer that belongs to another request: a defect of one end.
pub(super) fn strange() -> Result<ExitCode, Failure> {
    Err(Failure::plain(Kind::Failed, "the server answered something that was not asked"))
}

fn login_lines(address: &str, made: Option<&Password>) -> String {
    let Some(password) = made else { return format!("  Login name  {address}\n") };
    let shown = password::in_groups(&Secret::new(password.reveal().to_owned()));
    format!(
        "  Login name  {address}\n  Password    {}\n\
         It is shown this once only, and counts with or without the spaces.\n",
        shown.expose()
    )
}

/// Whether the account has such an address, before anybody is asked whether it should go.
fn is_its_address(ask: &Asker, account: &str, given: &str) -> Result<(), Failure> {
    let Answer::Accounts(rows) = ask.ask(&Request::AccountList)? else { return strange().map(drop) };
    let ((whose, _), (wanted, _)) = (address::address(account)?, address::address(given)?);
    match rows.iter().find(|row| row.login == whose || row.addresses.contains(&whose)) {
        None => Err(crate::admin::Error::NoSuchAccount { address: whose }.into()),
        Some(row) if !row.addresses.contains(&wanted) => {
            Err(crate::admin::Error::NotItsAddress { address: wanted, login: row.login.clone() }.into())
        }
        Some(_) => Ok(()),
    }
}

/// Says how much mail goes with an account, before it does. Also finds out that there is no such account.
fn what_would_be_lost(ask: &Asker, address: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(format!("All mail of {address} will be gone."));
    }
    let Answer::Accounts(rows) = ask.ask(&Request::AccountList)? else {
        return Ok(format!("All mail of {address} will be gone."));
    };
    let (wanted, _) = address::address(address)?;
    match rows.iter().find(|row| row.login == wanted || row.addresses.contains(&wanted)) {
        Some(row) => Ok(format!(
            "{} with {} ({}) will be gone; for a while `penfold undelete` can bring the mail back.",
            row.login,
            count(row.messages, "message"),
            octets(row.octets)
        )),
        None => Err(crate::admin::Error::NoSuchAccount { address: wanted }.into()),
    }
}

fn domains(rows: &[DomainRow]) -> String {
    if rows.is_empty() {
        return "There are no domains yet. `penfold domain add example.org` adds one.\n".into();
    }
    print::table(
        &["domain", ">accounts", ">aliases"],
        rows.iter().map(|row| vec![row.name.clone(), number(row.accounts), number(row.aliases)]),
    )
}

fn accounts(rows: &[AccountRow]) -> String {
    if rows.is_empty() {
        return "There are no accounts yet. `penfold account add NAME@DOMAIN` makes one.\n".into();
    }
    print::table(
        &["account", ">messages", ">size", "quota", "further addresses"],
        rows.iter().map(|row| {
            let further: Vec<&str> =
                row.addresses.iter().filter(|&address| *address != row.login).map(String::as_str).collect();
            vec![row.login.clone(), number(row.messages), octets(row.octets), quota(row), further.join(", ")]
        }),
    )
}

/// What an account may send to other hosts, and has sent.
fn sending(row: &AccountRow) -> String {
    let limit = |limit: Option<u64>, key: &str| match limit {
        Some(limit) => number(limit),
        None => format!("as limits.{key} in the configuration says"),
    };
    format!(
        "{} may send to other hosts in a day:\n  messages        {}; {} so far\n  new recipients  {}; {} so far\n",
        row.login,
        limit(row.messages_a_day, "messages_a_day"),
        number(row.messages_today),
        limit(row.new_recipients_a_day, "new_recipients_a_day"),
        number(row.new_recipients_today),
    )
}

/// The limits in words; nothing where there is none.
fn quota(row: &AccountRow) -> String {
    let storage = row.octets_quota.map(octets);
    let messages = row.messages_quota.map(|n| count(n, "message"));
    storage.into_iter().chain(messages).collect::<Vec<_>>().join(", ")
}

fn aliases(rows: &[AliasRow]) -> String {
    if rows.is_empty() {
        return "There are no aliases.\n".into();
    }
    print::table(&["alias", "goes to"], rows.iter().map(|row| vec![row.address.clone(), row.to.join(", ")]))
}
