//! `ifmatch browse`: a store in the terminal.
//!
//! | file | holds |
//! |---|---|
//! | `app.rs` | what is shown, and what a key does |
//! | `view.rs` | how it looks |
//! | `draft.rs` | a document as it is edited, and saved under If-Match |

mod app;
mod draft;
mod view;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use crate::args::Browse;
use crate::browse::app::{App, Effect};
use crate::browse::draft::Draft;
use crate::failure::{Failure, Outcome};
use crate::open;

const TICK: Duration = Duration::from_millis(250);

pub(crate) fn browse(args: &Browse) -> Outcome {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage("the browser needs a terminal".to_owned()));
    }
    open::with_store(&args.store, |store| {
        let mut app = App::new(store, args.collection.as_deref())?;
        // Sets a panic hook that gives the terminal back.
        let mut terminal = ratatui::init();
        let done = show(&mut terminal, &mut app);
        ratatui::restore();
        done
    })
}

fn show(terminal: &mut DefaultTerminal, app: &mut App) -> Outcome {
    let mut ticked = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, app)).map_err(terminal_failed)?;
        if event::poll(TICK.saturating_sub(ticked.elapsed())).map_err(terminal_failed)? {
            let Event::Key(key) = event::read().map_err(terminal_failed)? else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            let interrupts =
                key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            match app.press(key.code)? {
                _ if interrupts => return Ok(()),
                Effect::Quit => return Ok(()),
                Effect::Edit => edit(terminal, app)?,
                Effect::Nothing => {}
            }
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            app.tick()?;
        }
    }
}

/// Lends the terminal to the editor.
fn edit(terminal: &mut DefaultTerminal, app: &mut App) -> Outcome {
    let Some(draft) = &app.draft else { return Ok(()) };
    ratatui::restore();
    let edited = run_editor(draft);
    *terminal = ratatui::init();
    match edited {
        Ok(text) => app.edited(text),
        Err(failure) => {
            app.status = failure.to_string();
            Ok(())
        }
    }
}

/// Lets the user edit the draft in `$VISUAL` or `$EDITOR`.
fn run_editor(draft: &Draft) -> Outcome<String> {
    let failed = |error: io::Error| Failure::system("editing the document failed", &error);
    let mut file = tempfile::Builder::new().suffix(draft.suffix()).tempfile().map_err(failed)?;
    file.write_all(draft.text.as_bytes()).map_err(failed)?;
    let named = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = named.unwrap_or_else(|| if cfg!(windows) { "notepad" } else { "vi" }.to_owned());
    // It may be a command with arguments.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program).args(words).arg(file.path()).status();
    let status = status.map_err(|error| {
        Failure::system(format_args!("starting the editor {editor:?} failed"), &error)
    })?;
    if !status.success() {
        return Err(Failure::System(format!("the editor {editor:?} ended with {status}")));
    }
    fs::read_to_string(file.path()).map_err(failed)
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::system("the terminal failed", &error)
}
