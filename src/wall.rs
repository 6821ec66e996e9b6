//! The time of day, in the zone of this machine, for moments that people name by it. The C library knows the zone and its
//! summer time: from `TZ`, else from `/etc/localtime`.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use nix::libc::{self, c_int};

/// Seconds since 1970, as the clock on the wall says.
pub type Seconds = i64;

/// A moment as a calendar and a clock on the wall show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Civil {
    /// From 1970 on.
    pub year: u16,
    /// From 1 to 12.
    pub month: u8,
    /// From 1 to 31. A day that the month does not have is one of the next month.
    pub day: u8,
    /// From 0 to 23.
    pub hour: u8,
    /// From 0 to 59.
    pub minute: u8,
    /// From 0 to 59.
    pub second: u8,
}

impl Civil {
    fn fields(self, later: c_int, is_summer: c_int) -> libc::tm {
        // SAFETY: all its fields are numbers, and a pointer that may be null.
        let mut fields: libc::tm = unsafe { MaybeUninit::zeroed().assume_init() };
        fields.tm_year = c_int::from(self.year) - 1900;
        fields.tm_mon = c_int::from(self.month) - 1;
        fields.tm_mday = c_int::from(self.day) + later;
        fields.tm_hour = c_int::from(self.hour);
        fields.tm_min = c_int::from(self.minute);
        fields.tm_sec = c_int::from(self.second);
        fields.tm_isdst = is_summer;
        fields
    }

    /// The moment in UTC.
    #[must_use]
    pub fn utc(self) -> Seconds {
        let mut fields = self.fields(0, 0);
        // SAFETY: it reads and puts right the fields that it is given.
        unsafe { libc::timegm(&raw mut fields) }
    }

    /// The moment here. One that comes twice, when the clock is put back, is the first; one that does not come, when it is
    /// put forward, is as long after midnight as on any other day.
    #[must_use]
    pub fn here(self) -> Seconds {
        self.moments(0).into_iter().min().unwrap_or_default()
    }

    /// So many days later, at the same time of day: each moment at which a clock on the wall shows that.
    fn moments(self, days: c_int) -> Vec<Seconds> {
        let wanted = (c_int::from(self.hour), c_int::from(self.minute));
        let tries = [-1, 0, 1].map(|is_summer| {
            let mut fields = self.fields(days, is_summer);
            // SAFETY: it reads and puts right the fields that it is given.
            let moment = unsafe { libc::mktime(&raw mut fields) };
            (moment, (fields.tm_hour, fields.tm_min) == wanted)
        });
        let shown: Vec<Seconds> = tries.iter().filter(|(_, is_shown)| *is_shown).map(|(moment, _)| *moment).collect();
        if shown.is_empty() { tries.iter().map(|(moment, _)| *moment).max().into_iter().collect() } else { shown }
    }
}

/// What a clock on the wall shows at this moment.
#[must_use]
pub fn civil(moment: Seconds) -> Civil {
    // SAFETY: all its fields are numbers, and a pointer that may be null.
    let mut fields: libc::tm = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: it reads the one and fills the other.
    unsafe { libc::localtime_r(&raw const moment, &raw mut fields) };
    let small = |number: c_int| u8::try_from(number).unwrap_or_default();
    Civil {
        year: u16::try_from(fields.tm_year + 1900).unwrap_or_default(),
        month: small(fields.tm_mon + 1),
        day: small(fields.tm_mday),
        hour: small(fields.tm_hour),
        minute: small(fields.tm_min),
        second: small(fields.tm_sec),
    }
}

/// The next moment after `now` at which a clock on the wall shows this.
#[must_use]
pub fn next(hour: u8, minute: u8, now: Seconds) -> Seconds {
    let today = Civil { hour, minute, second: 0, ..civil(now) };
    (0..=2).flat_map(|days| today.moments(days)).filter(|moment| *moment > now).min().unwrap_or(now)
}

/// Where zones are kept, unless `TZDIR` names another folder; the second is for the C library of the static program.
const ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/share/zoneinfo", "/etc/zoneinfo"];

/// Whether `TZ` has a zone that the C library will find, given `TZDIR`. It takes UTC without a word for one that it does not
/// find.
#[must_use]
pub fn knows(zone: &OsStr, zones: Option<&OsStr>) -> bool {
    let bytes = zone.as_encoded_bytes();
    let (bytes, is_named) = bytes.strip_prefix(b":").map_or((bytes, false), |rest| (rest, true));
    let text = String::from_utf8_lossy(bytes);
    if text.is_empty() || ["UTC", "GMT", "UTC0", "GMT0"].contains(&&*text) || (!is_named && is_rule(&text)) {
        return true;
    }
    let folders = zones.into_iter().map(PathBuf::from).chain(ZONES.map(PathBuf::from));
    folders.into_iter().any(|folder| folder.join(Path::new(&*text)).is_file())
}

/// Whether it says by itself how far it is from UTC: `CET-1CEST,M3.5.0,M10.5.0/3`, `<+03>-3`.
fn is_rule(text: &str) -> bool {
    let rest = match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>').filter(|(name, _)| name.len() >= 3).map(|(_, rest)| rest),
        None => {
            let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            (text.len() - rest.len() >= 3).then_some(rest)
        }
    };
    rest.is_some_and(|rest| rest.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    /// Whether this process lives in the zone; else one that does has looked, and found it well.
    fn lives_in_zone(test: &str) -> bool {
        if std::env::var("TZ").is_ok_and(|zone| zone == ZONE) {
            return true;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.env("TZ", ZONE).args(["--exact", &format!("wall::tests::{test}")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test has another name");
        false
    }

    fn at(year: u16, month: u8, day: u8, hour: u8, minute: u8) -> Civil {
        Civil { year, month, day, hour, minute, second: 0 }
    }

    #[test]
    fn the_next_time_of_day() {
        if !lives_in_zone("the_next_time_of_day") {
            return;
        }
        for (now, (hour, minute), then) in [
            (at(2026, 11, 26, 21, 0), (2, 0), at(2026, 11, 27, 1, 0)),
            (at(2026, 11, 27, 0, 59), (2, 0), at(2026, 11, 27, 1, 0)),
            // It is that time now: the next is tomorrow's.
            (at(2026, 11, 27, 1, 0), (2, 0), at(2026, 11, 28, 1, 0)),
            (at(2026, 12, 31, 23, 30), (0, 0), at(2027, 1, 1, 23, 0)),
            (at(2026, 7, 1, 12, 0), (2, 0), at(2026, 7, 2, 0, 0)),
            // The night in which the clock is put forward, from 2 to 3: 02:30 is half an hour after that.
            (at(2026, 3, 28, 23, 0), (2, 30), at(2026, 3, 29, 1, 30)),
            (at(2026, 3, 28, 23, 0), (3, 30), at(2026, 3, 29, 1, 30)),
            (at(2026, 3, 29, 1, 30), (2, 30), at(2026, 3, 30, 0, 30)),
            // The night in which it is put back, from 3 to 2: 02:30 comes twice.
            (at(2026, 10, 24, 23, 0), (2, 30), at(2026, 10, 25, 0, 30)),
            (at(2026, 10, 25, 0, 30), (2, 30), at(2026, 10, 25, 1, 30)),
            (at(2026, 10, 25, 1, 30), (2, 30), at(2026, 10, 26, 1, 30)),
            // A day of twenty-five hours.
            (at(2026, 10, 24, 22, 0), (0, 0), at(2026, 10, 25, 23, 0)),
        ] {
            assert_eq!(next(hour, minute, now.utc()), then.utc(), "{now:?} {hour}:{minute}");
        }
    }

    #[test]
    fn a_moment_of_a_day() {
        if !lives_in_zone("a_moment_of_a_day") {
            return;
        }
        for (here, utc) in [
            (at(2026, 11, 27, 2, 0), at(2026, 11, 27, 1, 0)),
            (at(2026, 7, 1, 2, 0), at(2026, 7, 1, 0, 0)),
            (at(2026, 3, 29, 2, 30), at(2026, 3, 29, 1, 30)),
            (at(2026, 10, 25, 2, 30), at(2026, 10, 25, 0, 30)),
        ] {
            assert_eq!(here.here(), utc.utc(), "{here:?}");
        }
        assert_eq!(civil(at(2026, 10, 25, 1, 30).utc()), at(2026, 10, 25, 2, 30));
        assert_eq!(at(1970, 1, 1, 0, 0).utc(), 0);
    }

    #[test]
    fn zones_that_are_known() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Here")).unwrap();
        std::fs::write(folder.path().join("Here/Town"), "").unwrap();
        let knows = |zone: &str| knows(OsStr::new(zone), Some(folder.path().as_os_str()));
        let town = folder.path().join("Here/Town");
        let (file, named) = (town.display().to_string(), format!(":{}", town.display()));
        for zone in
            ["", ":", "UTC", "UTC0", "GMT", ZONE, "<+03>-3", "EST5EDT", "Here/Town", ":Here/Town", &file, &named]
        {
            assert!(knows(zone), "{zone}");
        }
        for zone in ["Nowhere/Land", "Here", ":Here/Village", "/nowhere", "CES", "AB1", "<A>1", "<ABC", "XYZ-"] {
            assert!(!knows(zone), "{zone}");
        }
    }
}
