//! Words for what runs on a node.

use agent_wrap_supervisor::{Build, Rest, Span};

/// So many builds are named, and the others counted.
const NAMED: usize = 4;
/// The longest name, in characters: folders within folders make longer ones.
const LONGEST: usize = 80;

/// What runs: "2 builds: job #12 (43%, running for 5m, about 7m left), other #3 (running for 2h, overdue by 40m)". The times
/// are in whole minutes, so that the words are seldom others.
pub(super) fn builds_words(builds: &[Build]) -> String {
    if builds.is_empty() {
        return "a build that the controller does not name".to_owned();
    }
    let count = count_words(builds.len());
    if let [Build { name: None, .. }] = builds {
        let details = details(&builds[0]).map(|details| format!("; {details}")).unwrap_or_default();
        return format!("{count} (job not visible to this account{details})");
    }
    if builds.iter().all(|build| build.name.is_none()) {
        return format!("{count} (jobs not visible to this account)");
    }
    let mut list: Vec<String> = builds.iter().take(NAMED).map(build_words).collect();
    if builds.len() > NAMED {
        list.push(format!("and {} more", builds.len() - NAMED));
    }
    format!("{count}: {}", list.join(", "))
}

/// "1 build", "3 builds".
pub(super) fn count_words(count: usize) -> String {
    if count == 1 { "1 build".to_owned() } else { format!("{count} builds") }
}

fn build_words(build: &Build) -> String {
    let name = build.name.as_deref().map_or_else(|| "a job not visible to this account".to_owned(), shortened);
    match details(build) {
        Some(details) => format!("{name} ({details})"),
        None => name,
    }
}

/// The name of a build, of a bearable length; the number at its end stays.
pub(super) fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= LONGEST {
        return name.to_owned();
    }
    let half = LONGEST / 2;
    let tail: String = name.chars().skip(length - half).collect();
    format!("{}…{tail}", name.chars().take(half - 1).collect::<String>())
}

fn details(build: &Build) -> Option<String> {
    let progress = build.progress.map(|percent| format!("{percent}%"));
    let running = build.running_for.map(age_words);
    let rest = build.rest.map(rest_words);
    let all: Vec<String> = [progress, running, rest].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// For how long a build has been running.
pub(super) fn age_words(gone: Span) -> String {
    if gone < MINUTE { "just begun".to_owned() } else { format!("running for {}", minutes_words(gone)) }
}

/// What is left of a build: "about 7m left", "overdue by 3m".
pub(super) fn rest_words(rest: Rest) -> String {
    match rest {
        Rest::Left(left) if left < MINUTE => "less than a minute left".to_owned(),
        // The estimate is none to the second: rather a little too long than too short.
        Rest::Left(left) => format!("about {} left", minutes_words(left.plus(Span(MINUTE.0 - 1)))),
        Rest::Overdue(by) => format!("overdue by {}", minutes_words(by)),
    }
}

const MINUTE: Span = Span::seconds(60);

/// A span in whole minutes, the begun one left out.
fn minutes_words(span: Span) -> String {
    let minutes = span.0 / MINUTE.0;
    match (minutes / 60, minutes % 60) {
        (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u32) -> Build {
        Build { name: Some(format!("job #{number}")), ..Build::default() }
    }

    #[test]
    fn a_build_says_how_far_it_is_since_when_and_how_long_it_may_still_take() {
        let (five, seven) = (Some(Span::seconds(330)), Some(Rest::Left(Span::seconds(400))));
        let far = |progress, running_for, rest| builds_words(&[Build { progress, running_for, rest, ..job(12) }]);
        assert_eq!(far(Some(43), five, seven), "1 build: job #12 (43%, running for 5m, about 7m left)");
        assert_eq!(
            far(Some(99), five, Some(Rest::Overdue(Span::seconds(200)))),
            "1 build: job #12 (99%, running for 5m, overdue by 3m)"
        );
        assert_eq!(far(None, five, None), "1 build: job #12 (running for 5m)");
        let begun = far(None, Some(Span::seconds(59)), Some(Rest::Left(Span::seconds(59))));
        assert_eq!(begun, "1 build: job #12 (just begun, less than a minute left)");
        let long = far(None, Some(Span::seconds(7200)), Some(Rest::Left(Span::seconds(7201))));
        assert_eq!(long, "1 build: job #12 (running for 2h, about 2h 1m left)");
        assert_eq!(far(None, None, None), "1 build: job #12");
    }

    #[test]
    fn a_job_that_may_not_be_seen_is_counted() {
        let hidden = Build { progress: Some(7), ..Build::default() };
        assert_eq!(builds_words(&[]), "a build that the controller does not name");
        assert_eq!(builds_words(&[Build::default()]), "1 build (job not visible to this account)");
        assert_eq!(builds_words(std::slice::from_ref(&hidden)), "1 build (job not visible to this account; 7%)");
        assert_eq!(builds_words(&[hidden.clone(), Build::default()]), "2 builds (jobs not visible to this account)");
        assert_eq!(builds_words(&[job(1), hidden]), "2 builds: job #1, a job not visible to this account (7%)");
    }

    #[test]
    fn many_builds_and_long_names_make_no_long_line() {
        let many: Vec<Build> = (1..=60).map(job).collect();
        assert_eq!(builds_words(&many), "60 builds: job #1, job #2, job #3, job #4, and 56 more");
        let deep = Build { name: Some(format!("{} #7", "folder » ".repeat(40))), ..Build::default() };
        let words = builds_words(&[deep]);
        assert!(words.chars().count() < 100 && words.ends_with(" #7"), "{words}");
        assert_eq!(shortened(&"x".repeat(80)), "x".repeat(80));
    }
}
