//! The one date that an image carries.

use crate::error::{Error, Result};

/// Seconds since 1970 that stand for "now" in everything that is built, as
/// `SOURCE_DATE_EPOCH` says (reproducible-builds.org/specs/source-date-epoch); 0 without it, so
/// that two builds are the same whoever makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The last second that four digits of a year can say.
    const LAST: u64 = 253_402_300_799;

    /// Reads the variable's value. Errors where it isn't a number of seconds.
    pub fn parse(text: &str) -> Result<Epoch> {
        let what = format!("take SOURCE_DATE_EPOCH={text}");
        match text.parse() {
            Ok(seconds) if seconds <= Self::LAST => Ok(Epoch(seconds)),
            Ok(_) => Err(Error::input(what, "it is after the year 9999")),
            Err(_) => Err(Error::input(what, "it is not a number of seconds since 1970")),
        }
    }

    /// The date as RFC 3339 writes it, in UTC.
    pub fn rfc3339(self) -> String {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a number of days since 1970: years are counted from March, so that
/// the day that some of them have more is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (year + era * 400, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as `date --utc --date=@N +%FT%TZ` prints it.
    #[test]
    fn dates_are_those_of_date() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Epoch(seconds).rfc3339(), date);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "-1", "yesterday", "253402300800", "1.5"] {
            assert!(Epoch::parse(text).is_err(), "{text}");
        }
        assert_eq!(Epoch::parse("1700000000").unwrap(), Epoch(1_700_000_000));
    }
}
