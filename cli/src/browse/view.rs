//! How the browser looks.

use bytes::Bytes;
use ifmatch::Item;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{
    Bar, BarChart, BarGroup, Block, Gauge, List, ListState, Paragraph, Sparkline, Wrap,
};
use similar::{ChangeTag, TextDiff};

use crate::browse::app::{App, Focus, Page};
use crate::documents::Form;
use crate::json::Layout as JsonLayout;
use crate::output::{key_text, show, size, time_text};

pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let [body, foot] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    match app.page {
        Page::Documents => documents(frame, app, body),
        Page::History => history(frame, app, body),
        Page::Feed => feed(frame, app, body),
        Page::Figures => figures(frame, app, body),
        Page::Conflict => conflict(frame, app, body),
    }
    let hint = match app.page {
        _ if app.is_typing => "type a prefix   Enter keep   Esc clear",
        Page::Documents => {
            "←→ panes  ↑↓ move  / search  e edit  h history  f feed  s figures  r reload  q quit"
        }
        Page::History => "↑↓ versions   Esc back   q quit",
        Page::Feed | Page::Figures => "Esc back   f feed   s figures   q quit",
        Page::Conflict => "o save yours over theirs   e edit again   Esc give yours up",
    };
    let line = if app.status.is_empty() {
        Line::from(hint).dim()
    } else {
        Line::from(app.status.as_str()).yellow()
    };
    frame.render_widget(line, foot);
}

fn pane(title: String, focused: bool) -> Block<'static> {
    let style = if focused { Style::new().fg(Color::Cyan) } else { Style::new() };
    Block::bordered().title(title).border_style(style)
}

fn list(frame: &mut Frame<'_>, rows: Vec<String>, at: usize, block: Block<'_>, area: Rect) {
    let list = List::new(rows).block(block).highlight_style(Style::new().reversed());
    let mut state = ListState::default().with_selected(Some(at));
    frame.render_stateful_widget(list, area, &mut state);
}

fn documents(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [left, middle, right] = Layout::horizontal([
        Constraint::Percentage(22),
        Constraint::Percentage(26),
        Constraint::Min(0),
    ])
    .areas(area);
    let names = app.collections.iter().map(|listed| format!("{}  {}", listed.name, listed.len));
    let block = pane(" Collections ".to_owned(), app.focus == Focus::Collections);
    list(frame, names.collect(), app.collection, block, left);

    let title = match (app.is_typing, app.filter.as_str()) {
        (true, filter) => format!(" Keys /{filter}_ "),
        (false, "") => " Keys ".to_owned(),
        (false, filter) => format!(" Keys {filter}… "),
    };
    let keys = app.keys.iter().map(|key| key_text(key)).collect();
    list(frame, keys, app.key, pane(title, app.focus == Focus::Keys), middle);

    let block = pane(" Document ".to_owned(), app.focus == Focus::Document);
    let text = match &app.item {
        Some(item) => item_text(item, app.form()),
        None => Text::from("nothing here").dim(),
    };
    let paragraph = Paragraph::new(text).block(block).scroll((app.scroll, 0));
    frame.render_widget(paragraph.wrap(Wrap { trim: false }), right);
}

fn item_text(item: &Item<Bytes>, form: Form) -> Text<'static> {
    let mut text = Text::default();
    text.push_line(Line::from(format!("ETag: {}", item.etag())).cyan());
    let revision = item.revision().0;
    let time = time_text(item.modified());
    text.push_line(Line::from(format!("revision {revision}, {time}")).dim());
    if let Some(expires) = item.expires() {
        text.push_line(Line::from(format!("expires {}", time_text(expires))).dim());
    }
    text.push_line("");
    for line in show(&item.value, form, JsonLayout::Pretty).lines() {
        text.push_line(line.to_owned());
    }
    text
}

fn history(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [left, right] =
        Layout::horizontal([Constraint::Length(40), Constraint::Min(0)]).areas(area);
    let row = |item: &Item<Bytes>| format!("{}  {}", item.revision().0, time_text(item.modified()));
    let title = format!(" {} versions ", app.history.len());
    let rows = app.history.iter().map(row).collect();
    list(frame, rows, app.version, pane(title, true), left);

    let form = app.form();
    let text = |item: &Item<Bytes>| show(&item.value, form, JsonLayout::Pretty);
    let this = app.history.get(app.version).map(text).unwrap_or_default();
    let (title, shown) = match app.history.get(app.version + 1).map(text) {
        Some(before) => (" What it changed ", diff(&before, &this)),
        None => (" The oldest version that is kept ", Text::from(this)),
    };
    let paragraph = Paragraph::new(shown).block(pane(title.to_owned(), false));
    frame.render_widget(paragraph, right);
}

/// The lines of two texts: what went with a minus, what came with a plus.
fn diff(before: &str, after: &str) -> Text<'static> {
    let mut text = Text::default();
    for change in TextDiff::from_lines(before, after).iter_all_changes() {
        let line = change.value().trim_end().to_owned();
        text.push_line(match change.tag() {
            ChangeTag::Equal => Line::from(format!("  {line}")),
            ChangeTag::Delete => Line::from(format!("- {line}")).red(),
            ChangeTag::Insert => Line::from(format!("+ {line}")).green(),
        });
    }
    text
}

fn feed(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let height = usize::from(area.height.saturating_sub(2));
    let first = app.feed.len().saturating_sub(height);
    let lines: Vec<Line<'_>> =
        app.feed.iter().skip(first).map(|line| Line::from(line.as_str())).collect();
    let lines = if lines.is_empty() {
        vec![Line::from("no change since the browser began").dim()]
    } else {
        lines
    };
    frame.render_widget(Paragraph::new(lines).block(pane(" Changes ".to_owned(), true)), area);
}

fn figures(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let [top, gauge, rate, bars] = Layout::vertical([
        Constraint::Length(8),
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Min(5),
    ])
    .areas(area);
    let stats = &app.stats;
    let text = [
        format!("documents   {}", stats.items),
        format!("revision    {}", stats.revision.0),
        format!("segments    {}", stats.segments),
        format!("journal     {}", size(stats.journal_bytes)),
        format!("index       {}", size(stats.index_bytes)),
        format!("cache       {} hits, {} misses", stats.cache_hits, stats.cache_misses),
    ];
    let paragraph = Paragraph::new(text.join("\n")).block(pane(" Figures ".to_owned(), true));
    frame.render_widget(paragraph, top);

    let frames = stats.live_bytes + stats.dead_bytes;
    let ratio = if frames == 0 { 1.0 } else { stats.live_bytes as f64 / frames as f64 };
    let label = format!("{} live, {} dead", size(stats.live_bytes), size(stats.dead_bytes));
    let block = pane(" Journal ".to_owned(), false);
    let style = Style::new().fg(Color::Green);
    let widget = Gauge::default().block(block).gauge_style(style).label(label);
    frame.render_widget(widget.ratio(ratio.clamp(0.0, 1.0)), gauge);

    let commits: Vec<u64> = app.commits.iter().copied().collect();
    let chart = Sparkline::default().data(&commits).style(Style::new().fg(Color::Cyan));
    frame
        .render_widget(chart.block(pane(" Commits, each quarter second ".to_owned(), false)), rate);

    let bar = |listed: &crate::browse::app::Listed| {
        Bar::default().value(listed.len).label(Line::from(listed.name.clone()))
    };
    let group: Vec<Bar<'_>> = app.collections.iter().map(bar).collect();
    let chart = BarChart::default().data(BarGroup::default().bars(&group)).bar_width(12);
    frame.render_widget(chart.block(pane(" Documents ".to_owned(), false)), bars);
}

fn conflict(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(sides) = &app.conflict else { return };
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(area);
    let mine = Paragraph::new(sides.mine.as_str());
    frame.render_widget(mine.block(pane(" Yours, not saved ".to_owned(), true)), left);
    let theirs = match &sides.theirs {
        Some(item) => show(&item.value, app.form(), JsonLayout::Pretty),
        None => "the document was deleted".to_owned(),
    };
    let title = match &sides.theirs {
        Some(item) => format!(" Theirs, of {} ", time_text(item.modified())),
        None => " Theirs ".to_owned(),
    };
    frame.render_widget(Paragraph::new(theirs).block(pane(title, false)), right);
}
