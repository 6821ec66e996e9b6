//! The life as a picture for a terminal of 80 columns.

use std::time::Duration;

use agent_wrap_testbed::stage::BuildState;

use super::{
    observer::Sight,
    promises::Life,
    style::{Paint, Style},
};

/// The columns of the time.
const WIDTH: usize = 70;
/// The names before them.
const INDENT: usize = 9;
/// Between two ticks of the axis at least.
const TICK_COLUMNS: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Free,
    ForeignMark,
    OwnMark,
    Connecting,
    Connected,
    Running,
}

impl Kind {
    fn glyph(self, unicode: bool) -> char {
        match (self, unicode) {
            (Self::Free, true) => '·',
            (Self::ForeignMark, true) => '▒',
            (Self::OwnMark, true) => '█',
            (Self::Connecting, true) => '╌',
            (Self::Connected | Self::Running, true) => '━',
            (Self::Free, false) => '.',
            (Self::ForeignMark, false) => '%',
            (Self::OwnMark, false) => '#',
            (Self::Connecting, false) => '-',
            (Self::Connected | Self::Running, false) => '=',
        }
    }

    fn paint(self) -> Paint {
        match self {
            Self::Free => Paint::Faint,
            Self::ForeignMark => Paint::ForeignMark,
            Self::OwnMark => Paint::OwnMark,
            Self::Connecting | Self::Connected => Paint::Agent,
            Self::Running => Paint::Build,
        }
    }

    /// Written into the bar where there is room.
    fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::ForeignMark => "a job's",
            Self::OwnMark => "agent-wrap's",
            Self::Connecting => "",
            Self::Connected => "connected",
            Self::Running => "running",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Duration,
    to: Duration,
    kind: Kind,
}

/// The picture, line by line: the mark, the agent, the build, the time, and what happened when.
pub(crate) fn draw(life: &Life, style: Style) -> Vec<String> {
    let rows: [(&str, Vec<Span>); 3] = [
        ("mark", spans(life, mark_kinds(&life.sights))),
        ("agent", spans(life, life.sights.iter().map(agent_kind).collect())),
        ("build", spans(life, life.sights.iter().map(build_kind).collect())),
    ];
    let mut lines: Vec<String> = rows.iter().map(|(name, spans)| row(name, spans, life.ended, style)).collect();
    lines.push(axis(life.ended, style));
    let events = events(life);
    lines.push(letters(&events, life.ended));
    for ((at, words), letter) in events.iter().zip('A'..) {
        lines.push(format!("{:INDENT$}{letter} {:6.2} s  {words}", "", at.as_secs_f64()));
    }
    lines
}

fn mark_kinds(sights: &[Sight]) -> Vec<Option<Kind>> {
    let mut last = Kind::Free;
    let kind = |sight: &Sight| {
        last = match sight.look.mark.as_deref() {
            None => Kind::Free,
            Some(reason) if reason.contains("[agent-wrap ") => Kind::OwnMark,
            // Some controllers forget the reason when the agent leaves.
            Some("") if last != Kind::Free => last,
            Some(_) => Kind::ForeignMark,
        };
        Some(last)
    };
    sights.iter().map(kind).collect()
}

fn agent_kind(sight: &Sight) -> Option<Kind> {
    sight.look.agent.then_some(if sight.look.connected { Kind::Connected } else { Kind::Connecting })
}

fn build_kind(sight: &Sight) -> Option<Kind> {
    (sight.look.build == Some(BuildState::Running)).then_some(Kind::Running)
}

/// One kind a sight becomes spans of equal kinds, the last up to the end.
fn spans(life: &Life, kinds: Vec<Option<Kind>>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let ends = life.sights.iter().skip(1).map(|sight| sight.at).chain([life.ended]);
    for ((sight, to), kind) in life.sights.iter().zip(ends).zip(kinds) {
        let Some(kind) = kind else { continue };
        match spans.last_mut() {
            Some(last) if last.kind == kind && last.to == sight.at => last.to = to,
            _ => spans.push(Span { from: sight.at, to, kind }),
        }
    }
    spans
}

fn column(at: Duration, whole: Duration) -> usize {
    let share = at.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON);
    // Not negative, and not beyond the last column.
    ((share * WIDTH as f64) as usize).min(WIDTH - 1)
}

fn row(name: &str, spans: &[Span], whole: Duration, style: Style) -> String {
    let mut cells: Vec<(char, Option<Kind>)> = vec![(' ', None); WIDTH];
    for span in spans {
        let from = column(span.from, whole);
        let to = if span.to >= whole { WIDTH } else { column(span.to, whole).max(from + 1) };
        let kind = Some(span.kind);
        cells[from..to].fill((span.kind.glyph(style.unicode), kind));
        let label = span.kind.label();
        if !label.is_empty() && to - from >= label.len() + 4 {
            let at = from + (to - from - label.len() - 2) / 2;
            for (cell, letter) in cells[at..].iter_mut().zip(format!(" {label} ").chars()) {
                *cell = (letter, kind);
            }
        }
    }
    let mut line = format!("{name:>width$}  ", width = INDENT - 2);
    for run in cells.chunk_by(|(_, one), (_, other)| one == other) {
        let text: String = run.iter().map(|(glyph, _)| glyph).collect();
        line.push_str(&run[0].1.map_or(text.clone(), |kind| style.paint(kind.paint(), &text)));
    }
    line.trim_end().to_owned()
}

/// The time in seconds, at steps that people count in.
fn axis(whole: Duration, style: Style) -> String {
    let (line, tick) = if style.unicode { ('─', '┴') } else { ('-', '+') };
    let enough = |step: &u64| column(Duration::from_secs(*step), whole) >= TICK_COLUMNS;
    let step = [1, 2, 5, 10, 20, 30, 60].into_iter().find(enough).unwrap_or(120);
    let mut cells = vec![line; WIDTH];
    for second in (0..=whole.as_secs()).step_by(usize::try_from(step).unwrap_or(1)) {
        let at = column(Duration::from_secs(second), whole);
        let words = format!("{tick}{second} s");
        if at + words.chars().count() <= WIDTH {
            for (cell, letter) in cells[at..].iter_mut().zip(words.chars()) {
                *cell = letter;
            }
        }
    }
    let cells: String = cells.into_iter().collect();
    format!("{:>width$}  {cells}", "time", width = INDENT - 2)
}

/// What happened, in order of time.
fn events(life: &Life) -> Vec<(Duration, String)> {
    let first = |is: &dyn Fn(&Sight) -> bool| life.sights.iter().find(|sight| is(sight)).map(|sight| sight.at);
    let agent_gone = life.sights.iter().rposition(|sight| sight.look.agent).and_then(|at| life.sights.get(at + 1));
    let result = life.sights.iter().find_map(|sight| match &sight.look.build {
        Some(BuildState::Finished(result)) => Some((sight.at, format!("the build has ended: {result}"))),
        _ => None,
    });
    let code = life.code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
    let mut events: Vec<(Duration, String)> = [
        (first(&|sight| sight.look.mark.is_some()), "an earlier job has marked the node"),
        (first(&|sight| sight.look.mark.is_none()), "the mark is lifted"),
        (first(&|sight| sight.look.agent), "the agent is started"),
        (first(&|sight| sight.look.connected), "the agent is connected"),
        (first(&|sight| sight.look.build == Some(BuildState::Running)), "the build runs"),
        (Some(life.pressed), "Ctrl-C"),
        (first(&|sight| sight.at > life.pressed && sight.look.mark.is_some()), "the node is marked again"),
        (agent_gone.map(|sight| sight.at), "the agent has ended"),
    ]
    .into_iter()
    .filter_map(|(at, words)| Some((at?, words.to_owned())))
    .chain(result)
    .chain([(life.ended, format!("agent-wrap has ended {code}"))])
    .collect();
    events.sort_by_key(|(at, _)| *at);
    events
}

/// A letter for each event, below its time; those too close to each other move apart.
fn letters(events: &[(Duration, String)], whole: Duration) -> String {
    let mut cells = vec![' '; WIDTH];
    let mut next = 0;
    for (index, ((at, _), letter)) in events.iter().zip('A'..).enumerate() {
        let room = WIDTH.saturating_sub(events.len() - index);
        let at = column(*at, whole).max(next).min(room);
        cells[at] = letter;
        next = at + 1;
    }
    let cells: String = cells.into_iter().collect();
    format!("{:INDENT$}{cells}", "").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::observer::Look;

    const ASCII: Style = Style { colours: false, unicode: false };

    fn life() -> Life {
        let sight = |millis, agent, mark: Option<&str>, build| {
            let look = Look { agent, mark: mark.map(str::to_owned), connected: agent && millis > 2_100, build };
            Sight { at: Duration::from_millis(millis), look }
        };
        let ours = Some("[agent-wrap h]");
        Life {
            sights: vec![
                sight(0, false, Some("a job's"), None),
                sight(2_000, false, None, None),
                sight(2_100, true, None, None),
                sight(3_000, true, None, None),
                sight(4_000, true, None, Some(BuildState::Running)),
                sight(6_000, true, ours, Some(BuildState::Running)),
                sight(9_000, true, ours, Some(BuildState::Finished("SUCCESS".to_owned()))),
                sight(9_900, false, Some(""), Some(BuildState::Finished("SUCCESS".to_owned()))),
            ],
            pressed: Duration::from_millis(5_900),
            ended: Duration::from_millis(10_000),
            code: Some(0),
        }
    }

    #[test]
    fn a_life_is_drawn() {
        let picture = r"
   mark  %% a job's %%%........... free ...........####### agent-wrap's #######
  agent                -------================== connected ===================
  build                              ============= running =============
   time  +0 s---+1 s---+2 s---+3 s---+4 s---+5 s---+6 s---+7 s---+8 s---+9 s---
         A             BC     D      E            FG                    H    IJ
         A   0.00 s  an earlier job has marked the node
         B   2.00 s  the mark is lifted
         C   2.10 s  the agent is started
         D   3.00 s  the agent is connected
         E   4.00 s  the build runs
         F   5.90 s  Ctrl-C
         G   6.00 s  the node is marked again
         H   9.00 s  the build has ended: SUCCESS
         I   9.90 s  the agent has ended
         J  10.00 s  agent-wrap has ended with exit code 0";
        let drawn = draw(&life(), ASCII).join("\n");
        assert_eq!(drawn, picture.trim_start_matches('\n'), "{drawn}");
    }

    #[test]
    fn every_line_fits_a_terminal() {
        for style in [ASCII, Style { colours: false, unicode: true }] {
            let mut life = life();
            for end in [10_u64, 10_000, 47_000, 3_600_000] {
                life.ended = Duration::from_millis(end);
                for line in draw(&life, style) {
                    assert!(line.chars().count() <= 80, "{line}");
                    assert!(style.unicode || line.is_ascii(), "{line}");
                }
            }
        }
    }
}
