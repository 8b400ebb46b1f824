//! What a disk holds while recorded calls change it: for each file and folder what is durable, and
//! beside it the changes that no sync has covered.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::trace::Call;

pub(super) type Id = usize;
/// Files by path; `None` for a folder.
pub(super) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
    Reserve(u64),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write_at(content, *offset as usize, data),
            Self::SetLen(len) => content.resize(*len as usize, 0),
            Self::Reserve(end) => content.resize(content.len().max(*end as usize), 0),
        }
    }
}

pub(super) fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    content.resize(content.len().max(offset + data.len()), 0);
    content[offset..offset + data.len()].copy_from_slice(data);
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Add(String, Id),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Self::Add(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Add(name, _) | Self::Remove(name) => (name, None),
            Self::Rename(from, to) => (from, Some(to.as_str())),
        };
        std::iter::once(first.as_str()).chain(second)
    }
}

/// A change that a cut may undo.
#[derive(Debug, Clone)]
pub(super) struct Pending<T> {
    /// In order of the calls' beginnings.
    pub(super) sequence: u64,
    /// Whether the call has returned.
    pub(super) is_done: bool,
    pub(super) change: T,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File {
        durable: Arc<Vec<u8>>,
        pending: Vec<Pending<Change>>,
    },
    Folder {
        durable: BTreeMap<String, Id>,
        pending: Vec<Pending<NameChange>>,
        /// As the process sees it.
        now: BTreeMap<String, Id>,
    },
}

impl Node {
    fn file() -> Self {
        Self::File { durable: Arc::default(), pending: Vec::new() }
    }

    fn folder() -> Self {
        Self::Folder { durable: BTreeMap::new(), pending: Vec::new(), now: BTreeMap::new() }
    }
}

/// What a call that is under way will have done when it returns.
#[derive(Debug, Clone)]
enum Begun {
    Changes(Id),
    /// Covers the changes of these sequences.
    Syncs(Id, Vec<u64>),
}

/// A recorded folder.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// The first is the folder itself.
    pub(super) nodes: Vec<Node>,
    begun: HashMap<usize, Vec<(u64, Begun)>>,
    next_sequence: u64,
}

impl Disk {
    /// A folder with these files, all durable.
    pub(super) fn holding(tree: &Tree) -> Self {
        let mut disk =
            Self { nodes: vec![Node::folder()], begun: HashMap::new(), next_sequence: 0 };
        for (path, bytes) in tree {
            let (parent, name) = disk.place(path);
            let node = match bytes {
                Some(bytes) => Node::File { durable: Arc::new(bytes.clone()), pending: Vec::new() },
                None => Node::folder(),
            };
            let id = disk.add_node(node);
            if let Node::Folder { durable, now, .. } = &mut disk.nodes[parent] {
                durable.insert(name.clone(), id);
                now.insert(name, id);
            }
        }
        disk
    }

    /// Whether a call has begun of which it is not known whether it did something.
    pub(super) fn is_busy(&self) -> bool {
        let mut begun = self.begun.values().flatten();
        begun.any(|(_, begun)| matches!(begun, Begun::Changes(_)))
    }

    /// From here on numbers of calls are those of another process.
    pub(super) fn process_ended(&mut self) {
        self.begun.clear();
    }

    pub(super) fn begin(&mut self, number: usize, call: Call) {
        match call {
            Call::Open { path, create, truncate } => match self.find(&path) {
                Some(id) if truncate => self.change(number, id, Change::SetLen(0)),
                None if create => {
                    let id = self.add_node(Node::file());
                    self.add_name(number, &path, id);
                }
                _ => {}
            },
            Call::Write { path, offset, data } => {
                let id = self.expect(&path);
                self.change(number, id, Change::Write { offset, data: data.into() });
            }
            Call::SetLen { path, len } => {
                let id = self.expect(&path);
                self.change(number, id, Change::SetLen(len));
            }
            Call::Reserve { path, end } => {
                let id = self.expect(&path);
                self.change(number, id, Change::Reserve(end));
            }
            Call::Sync { path } => {
                let id = self.expect(&path);
                let covered = self.done(id);
                self.begun.entry(number).or_default().push((0, Begun::Syncs(id, covered)));
            }
            Call::MakeDir { path } => {
                // Without the folder above the call will fail.
                let above = path.parent().and_then(|above| self.find(above));
                if above.is_some() && self.find(&path).is_none() {
                    let id = self.add_node(Node::folder());
                    self.add_name(number, &path, id);
                }
            }
            Call::Remove { path } => {
                let (folder, name) = self.place(&path);
                self.change_names(number, folder, NameChange::Remove(name));
            }
            Call::Rename { from, to } => {
                let ((folder, from), (to_folder, to)) = (self.place(&from), self.place(&to));
                assert_eq!(folder, to_folder, "a rename between folders is not followed");
                self.change_names(number, folder, NameChange::Rename(from, to));
            }
        }
    }

    pub(super) fn end(&mut self, number: usize, result: Option<i64>) {
        // Without a result the process ended meanwhile, and the call stays under way.
        let Some(result) = result else { return };
        for (sequence, begun) in self.begun.remove(&number).unwrap_or_default() {
            match begun {
                Begun::Changes(id) if result < 0 => self.forget(id, sequence),
                Begun::Changes(id) => self.settle(id, sequence, result as usize),
                Begun::Syncs(id, covered) => {
                    assert_eq!(result, 0, "a sync failed");
                    self.make_durable(id, &covered);
                }
            }
        }
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut id = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { panic!("{path:?} is not followed") };
            let Node::Folder { now, .. } = &self.nodes[id] else { return None };
            id = *now.get(name.to_str().unwrap())?;
        }
        Some(id)
    }

    fn expect(&self, path: &Path) -> Id {
        self.find(path).unwrap_or_else(|| panic!("{path:?} was never made"))
    }

    /// The folder that a path lies in, and its name there.
    fn place(&self, path: &Path) -> (Id, String) {
        let name = path.file_name().unwrap().to_str().unwrap();
        (self.expect(path.parent().unwrap()), name.to_owned())
    }

    fn add_node(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_name(&mut self, number: usize, path: &Path, id: Id) {
        let (folder, name) = self.place(path);
        self.change_names(number, folder, NameChange::Add(name, id));
    }

    fn begin_change(&mut self, number: usize, id: Id) -> u64 {
        self.next_sequence += 1;
        self.begun.entry(number).or_default().push((self.next_sequence, Begun::Changes(id)));
        self.next_sequence
    }

    fn change(&mut self, number: usize, id: Id, change: Change) {
        let sequence = self.begin_change(number, id);
        let Node::File { pending, .. } = &mut self.nodes[id] else { panic!("not a file") };
        pending.push(Pending { sequence, is_done: false, change });
    }

    fn change_names(&mut self, number: usize, id: Id, change: NameChange) {
        let sequence = self.begin_change(number, id);
        let Node::Folder { pending, .. } = &mut self.nodes[id] else { panic!("not a folder") };
        pending.push(Pending { sequence, is_done: false, change });
    }

    /// The changes that a sync which begins now has to cover.
    fn done(&self, id: Id) -> Vec<u64> {
        fn of<T>(pending: &[Pending<T>]) -> Vec<u64> {
            pending.iter().filter(|change| change.is_done).map(|change| change.sequence).collect()
        }
        match &self.nodes[id] {
            Node::File { pending, .. } => of(pending),
            Node::Folder { pending, .. } => of(pending),
        }
    }

    /// The call has failed.
    fn forget(&mut self, id: Id, sequence: u64) {
        match &mut self.nodes[id] {
            Node::File { pending, .. } => pending.retain(|change| change.sequence != sequence),
            Node::Folder { pending, .. } => pending.retain(|change| change.sequence != sequence),
        }
    }

    /// The call has succeeded; a write with so many bytes.
    fn settle(&mut self, id: Id, sequence: u64, result: usize) {
        match &mut self.nodes[id] {
            Node::File { pending, .. } => {
                let of_call = pending.iter_mut().find(|change| change.sequence == sequence);
                let pending = of_call.unwrap();
                pending.is_done = true;
                if let Change::Write { data, .. } = &pending.change {
                    assert_eq!(data.len(), result, "a short write is not followed");
                }
            }
            Node::Folder { pending, now, .. } => {
                let of_call = pending.iter_mut().find(|change| change.sequence == sequence);
                let pending = of_call.unwrap();
                pending.is_done = true;
                pending.change.apply(now);
            }
        }
    }

    fn make_durable(&mut self, id: Id, covered: &[u64]) {
        match &mut self.nodes[id] {
            Node::File { durable, pending } => {
                let durable = Arc::make_mut(durable);
                pending.retain(|pending| {
                    let is_covered = covered.contains(&pending.sequence);
                    if is_covered {
                        pending.change.apply(durable);
                    }
                    !is_covered
                });
            }
            Node::Folder { durable, pending, .. } => pending.retain(|pending| {
                let is_covered = covered.contains(&pending.sequence);
                if is_covered {
                    pending.change.apply(durable);
                }
                !is_covered
            }),
        }
    }
}
