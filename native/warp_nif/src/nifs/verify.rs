//! Checking files, piece by piece.

use std::sync::Mutex;

use rustler::{Atom, Binary, Encoder, Env, Resource, ResourceArc, Term};

use super::terms::{KindTerm, kinds_of, or_none, path, reply};
use crate::atoms;
use crate::engine::{JournalHandle, Shard};
use crate::sync::relock;
use crate::threads::{FILES, answer};
use crate::verify::{self, Checker, Findings, Folder, Part};

/// The check of a shard.
pub struct CheckHandle(Mutex<Checker>);

/// The folder of a context that nobody has open.
pub struct FolderHandle(Mutex<Folder>);

#[rustler::resource_impl]
impl Resource for CheckHandle {}

#[rustler::resource_impl]
impl Resource for FolderHandle {}

impl CheckHandle {
    fn new(checker: Checker) -> ResourceArc<Self> {
        ResourceArc::new(Self(Mutex::new(checker)))
    }
}

/// Begins to check an open shard: `{ok, Check}` or `{error, Reason}`.
#[rustler::nif]
fn check_shard<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply(env, shard.check().map(CheckHandle::new))
    })
}

/// Opens the folder of a context to check its files, those of all shards or of those given: `{ok, {Folder, Shards}}`, with
/// the numbers of the shards, or `{error, Reason}`.
#[rustler::nif]
fn check_folder<'a>(
    env: Env<'a>,
    dir: Binary<'a>,
    kinds: Vec<KindTerm>,
    shards: Term<'a>,
    tag: Term<'a>,
) -> rustler::NifResult<Term<'a>> {
    let given: Option<Vec<usize>> = match shards.decode::<Atom>() {
        Ok(atom) if atom == atoms::all() => None,
        _ => Some(shards.decode()?),
    };
    let dir = path(&dir);
    let kinds = kinds_of(kinds);
    Ok(answer(env, &FILES, tag, move |env| {
        let opened = || {
            let folder = Folder::open(&dir, kinds?, given)?;
            let shards: Vec<usize> = folder.shards.iter().map(|(shard, _)| *shard).collect();
            Ok((ResourceArc::new(FolderHandle(Mutex::new(folder))), shards))
        };
        reply(env, opened())
    }))
}

/// Begins to check a shard of a folder: `{ok, Check}`; `{ok, none}` when it cannot be read as a shard, which
/// `check_journal` says then; or `{error, Reason}`.
#[rustler::nif]
fn check_file<'a>(
    env: Env<'a>,
    folder: ResourceArc<FolderHandle>,
    shard: usize,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let begun = relock(&folder.0).shard(shard);
        reply(
            env,
            begun.map(|begun| or_none(env, begun.map(CheckHandle::new))),
        )
    })
}

/// Checks the next piece of a shard: `{ok, {Part, Done, Total}}`, with what comes next, or
/// `{ok, {done, [{What, Count}], {Damaged, OthersDamaged}}}`; or `{error, Reason}`.
#[rustler::nif]
fn check_next<'a>(env: Env<'a>, check: ResourceArc<CheckHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let mut checker = relock(&check.0);
        let stepped = checker.step().map(|()| {
            let report = checker.report();
            let part = match checker.part() {
                Part::Pages => atoms::pages(),
                Part::Entities => atoms::entities(),
                Part::Rows => atoms::rows(),
                Part::Done => {
                    let counts = vec![
                        (atoms::pages(), report.pages),
                        (atoms::entities(), report.entities),
                        (atoms::rows(), report.rows),
                        (atoms::events(), report.events),
                        (atoms::snapshots(), report.snapshots),
                    ];
                    return (atoms::done(), counts, damage(checker.findings())).encode(env);
                }
            };
            (part, report.done, report.total).encode(env)
        });
        reply(env, stepped)
    })
}

/// Checks the journal of an open context: `{ok, {Records, {Damaged, OthersDamaged}}}` or `{error, Reason}`.
#[rustler::nif]
fn check_journal<'a>(env: Env<'a>, journal: ResourceArc<JournalHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let mut findings = Findings::default();
        let records = verify::journal::check(journal.segments(), &mut findings);
        reply(env, records.map(|records| with_damage(records, &findings)))
    })
}

/// Likewise that of a folder, with what is damaged of the folder but for what the checks of the shards found.
#[rustler::nif]
fn check_folder_journal<'a>(
    env: Env<'a>,
    folder: ResourceArc<FolderHandle>,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let mut folder = relock(&folder.0);
        let records = folder.records();
        reply(
            env,
            records.map(|records| with_damage(records, folder.findings())),
        )
    })
}

/// Ends the check of a folder, which can be opened from then on: `ok`.
#[rustler::nif]
fn uncheck_folder<'a>(env: Env<'a>, folder: ResourceArc<FolderHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        relock(&folder.0).unlock();
        atoms::ok().encode(env)
    })
}

fn with_damage(records: u64, findings: &Findings) -> (u64, (Vec<String>, u64)) {
    (records, damage(findings))
}

fn damage(findings: &Findings) -> (Vec<String>, u64) {
    (findings.listed().to_vec(), findings.others())
}
