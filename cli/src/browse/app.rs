//! What the browser shows, and what a key does to it.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;
use crossterm::event::KeyCode;
use ifmatch::{Cursor, Item, Stats, Store};

use crate::browse::draft::{Draft, Saved};
use crate::documents::{self, Documents, Form, Span, kind_of};
use crate::failure::Outcome;
use crate::output::{key_text, time_text};

/// Keys that are read at a time.
const PAGE_KEYS: usize = 200;
/// Changes that the feed keeps.
const FEED_LINES: usize = 500;
/// Ticks that the chart of commits shows.
const RATE_TICKS: usize = 120;

/// Which list the arrow keys move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    Collections,
    Keys,
    Document,
}

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Documents,
    History,
    Feed,
    Figures,
    Conflict,
}

/// What the terminal must do for the browser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    /// Let the user edit the draft.
    Edit,
    Quit,
}

/// A collection in the list.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) len: u64,
}

/// What a save was refused for.
pub(crate) struct Sides {
    pub(crate) mine: String,
    /// What is stored now; `None` when it was deleted.
    pub(crate) theirs: Option<Item<Bytes>>,
}

pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) page: Page,
    pub(crate) focus: Focus,
    pub(crate) collections: Vec<Listed>,
    pub(crate) collection: usize,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) key: usize,
    /// Whether there are keys after those that were read.
    pub(crate) has_more: bool,
    /// Only keys that begin with this are listed.
    pub(crate) filter: String,
    pub(crate) is_typing: bool,
    pub(crate) item: Option<Item<Bytes>>,
    pub(crate) scroll: u16,
    pub(crate) history: Vec<Item<Bytes>>,
    pub(crate) version: usize,
    pub(crate) feed: VecDeque<String>,
    cursor: Cursor,
    pub(crate) stats: Stats,
    pub(crate) commits: VecDeque<u64>,
    pub(crate) status: String,
    pub(crate) draft: Option<Draft>,
    pub(crate) conflict: Option<Sides>,
}

impl App {
    pub(crate) fn new(store: &Store, collection: Option<&str>) -> Outcome<Self> {
        let mut app = Self {
            store: store.clone(),
            page: Page::Documents,
            focus: Focus::Collections,
            collections: Vec::new(),
            collection: 0,
            keys: Vec::new(),
            key: 0,
            has_more: false,
            filter: String::new(),
            is_typing: false,
            item: None,
            scroll: 0,
            history: Vec::new(),
            version: 0,
            feed: VecDeque::new(),
            cursor: store.cursor()?,
            stats: store.stats()?,
            commits: VecDeque::new(),
            status: String::new(),
            draft: None,
            conflict: None,
        };
        app.list_collections()?;
        if let Some(name) = collection {
            match app.collections.iter().position(|listed| listed.name == name) {
                Some(index) => (app.collection, app.focus) = (index, Focus::Keys),
                None => app.status = format!("there is no collection {name:?}"),
            }
        }
        app.list_keys()?;
        Ok(app)
    }

    pub(crate) fn listed(&self) -> Option<&Listed> {
        self.collections.get(self.collection)
    }

    pub(crate) fn form(&self) -> Form {
        self.listed().map_or(Form::Json, |listed| listed.form)
    }

    fn documents(&self) -> Outcome<Option<Box<dyn Documents>>> {
        let open = |listed: &Listed| documents::open_as(&self.store, &listed.name, listed.form);
        self.listed().map(open).transpose()
    }

    fn list_collections(&mut self) -> Outcome {
        self.collections.clear();
        for info in self.store.collections()? {
            // One that only a newer version knows is not shown.
            let Some(form) = info.codec().and_then(Form::from_name) else { continue };
            let len = documents::open_as(&self.store, info.name(), form)?.len()?;
            self.collections.push(Listed { name: info.name().to_owned(), form, len });
        }
        Ok(())
    }

    /// Lists the keys from the first that the filter lets through.
    fn list_keys(&mut self) -> Outcome {
        (self.keys, self.key) = (Vec::new(), 0);
        self.has_more = true;
        self.read_more_keys()?;
        self.read_item()
    }

    /// Reads the keys after those that are listed.
    fn read_more_keys(&mut self) -> Outcome {
        let Some(documents) = self.documents()?.filter(|_| self.has_more) else { return Ok(()) };
        let prefix = self.filter.as_bytes();
        let span = match self.keys.last() {
            None => Span::Prefix(prefix.to_vec()),
            Some(last) => Span::Range(Bound::Excluded(last.clone()), Bound::Unbounded),
        };
        let mut read = 0;
        for item in documents.items(&span)?.take(PAGE_KEYS) {
            let item = item?;
            if !item.key().starts_with(prefix) {
                break;
            }
            self.keys.push(item.key().to_vec());
            read += 1;
        }
        self.has_more = read == PAGE_KEYS;
        Ok(())
    }

    fn read_item(&mut self) -> Outcome {
        (self.item, self.scroll) = (None, 0);
        if let (Some(documents), Some(key)) = (self.documents()?, self.keys.get(self.key)) {
            self.item = documents.get_many(&[key])?.pop().flatten();
        }
        Ok(())
    }

    /// What happens by itself: the feed, the figures.
    pub(crate) fn tick(&mut self) -> Outcome {
        let before = self.stats.revision.0;
        let mut changes = self.store.changes(self.cursor)?;
        let mut changed = false;
        for change in changes.by_ref() {
            let change = change?;
            changed = true;
            self.feed.push_back(format!(
                "{}  {:8}  {}/{}  {}",
                time_text(change.modified()),
                kind_of(&change),
                change.collection(),
                key_text(change.key()),
                change.etag()
            ));
        }
        self.cursor = changes.cursor();
        let surplus = self.feed.len().saturating_sub(FEED_LINES);
        self.feed.drain(..surplus);
        self.stats = self.store.stats()?;
        self.commits.push_back(self.stats.revision.0.saturating_sub(before));
        let surplus = self.commits.len().saturating_sub(RATE_TICKS);
        self.commits.drain(..surplus);
        if changed {
            self.list_collections()?;
        }
        Ok(())
    }

    /// What a key does.
    pub(crate) fn press(&mut self, key: KeyCode) -> Outcome<Effect> {
        if self.is_typing {
            self.type_filter(key)?;
            return Ok(Effect::Nothing);
        }
        self.status.clear();
        match (self.page, key) {
            (_, KeyCode::Char('q')) => return Ok(Effect::Quit),
            (Page::Conflict, _) => return self.press_in_conflict(key),
            (_, KeyCode::Char('f')) => self.page = Page::Feed,
            (_, KeyCode::Char('s')) => self.page = Page::Figures,
            (Page::Documents, _) => return self.press_in_documents(key),
            (_, KeyCode::Esc | KeyCode::Left) => self.page = Page::Documents,
            (Page::History, KeyCode::Down) if self.version + 1 < self.history.len() => {
                self.version += 1;
            }
            (Page::History, KeyCode::Up) => self.version = self.version.saturating_sub(1),
            _ => {}
        }
        Ok(Effect::Nothing)
    }

    fn type_filter(&mut self, key: KeyCode) -> Outcome {
        match key {
            KeyCode::Char(c) => self.filter.push(c),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => {
                self.is_typing = false;
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.list_keys()
    }

    fn press_in_documents(&mut self, key: KeyCode) -> Outcome<Effect> {
        match key {
            KeyCode::Up => self.move_by(-1)?,
            KeyCode::Down => self.move_by(1)?,
            KeyCode::PageUp => self.move_by(-20)?,
            KeyCode::PageDown => self.move_by(20)?,
            KeyCode::Right | KeyCode::Enter | KeyCode::Tab => {
                self.focus = match self.focus {
                    Focus::Collections => Focus::Keys,
                    Focus::Keys | Focus::Document => Focus::Document,
                };
            }
            KeyCode::Left | KeyCode::Esc | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::Document => Focus::Keys,
                    Focus::Keys | Focus::Collections => Focus::Collections,
                };
            }
            KeyCode::Char('/') => {
                self.filter.clear();
                (self.is_typing, self.focus) = (true, Focus::Keys);
                self.list_keys()?;
            }
            KeyCode::Char('h') => self.show_history()?,
            KeyCode::Char('e') => return Ok(self.begin_edit()),
            KeyCode::Char('r') => {
                self.list_collections()?;
                self.list_keys()?;
            }
            _ => {}
        }
        Ok(Effect::Nothing)
    }

    fn move_by(&mut self, by: isize) -> Outcome {
        let moved = |at: usize, len: usize| at.saturating_add_signed(by).min(len.saturating_sub(1));
        match self.focus {
            Focus::Collections => {
                self.collection = moved(self.collection, self.collections.len());
                self.filter.clear();
                self.list_keys()
            }
            Focus::Keys => {
                if by > 0 && self.key.saturating_add_signed(by) >= self.keys.len() {
                    self.read_more_keys()?;
                }
                self.key = moved(self.key, self.keys.len());
                self.read_item()
            }
            Focus::Document => {
                let by = i16::try_from(by).unwrap_or(0);
                self.scroll = self.scroll.saturating_add_signed(by);
                Ok(())
            }
        }
    }

    fn show_history(&mut self) -> Outcome {
        let (Some(documents), Some(key)) = (self.documents()?, self.keys.get(self.key)) else {
            return Ok(());
        };
        self.history = documents.history(key)?.into_iter().collect::<Result<_, _>>()?;
        (self.version, self.page) = (0, Page::History);
        Ok(())
    }

    /// Goes on with a draft, or begins one of the document that is shown.
    fn begin_edit(&mut self) -> Effect {
        let (Some(item), Some(listed)) = (&self.item, self.listed()) else {
            "there is no document to edit".clone_into(&mut self.status);
            return Effect::Nothing;
        };
        if self.draft.as_ref().is_none_or(|draft| !draft.is_of(&listed.name, item.key())) {
            self.draft = Some(Draft::new(&listed.name, item, listed.form));
        }
        Effect::Edit
    }

    /// Saves the draft after the user has edited it.
    pub(crate) fn edited(&mut self, text: String) -> Outcome {
        let Some(mut draft) = self.draft.take() else { return Ok(()) };
        draft.text = text;
        match draft.save(&self.store)? {
            Saved::Unchanged => "nothing was changed".clone_into(&mut self.status),
            Saved::Written(tag) => {
                self.status = format!("saved as {tag}");
                self.page = Page::Documents;
                self.read_item()?;
            }
            Saved::Refused(reason) => {
                self.status = format!("not saved: {reason}; e edits it again");
                self.draft = Some(draft);
            }
            Saved::Conflict(theirs) => {
                let theirs = theirs.map(|item| *item);
                self.conflict = Some(Sides { mine: draft.text.clone(), theirs });
                self.page = Page::Conflict;
                self.draft = Some(draft);
            }
        }
        Ok(())
    }

    /// Somebody was faster: the draft is saved over theirs, edited again, or given up.
    fn press_in_conflict(&mut self, key: KeyCode) -> Outcome<Effect> {
        match key {
            KeyCode::Char('o' | 'e') => {
                let theirs = self.conflict.take().and_then(|sides| sides.theirs);
                let Some(draft) = &mut self.draft else { return Ok(Effect::Nothing) };
                draft.rebase(theirs.as_ref());
                self.page = Page::Documents;
                if key == KeyCode::Char('e') {
                    return Ok(Effect::Edit);
                }
                let text = draft.text.clone();
                self.edited(text)?;
            }
            KeyCode::Esc => {
                (self.draft, self.conflict, self.page) = (None, None, Page::Documents);
                self.read_item()?;
            }
            _ => {}
        }
        Ok(Effect::Nothing)
    }
}
