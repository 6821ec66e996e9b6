//! What a person sees of what is written to a terminal: as much of one as a line that is rewritten in place needs.

/// Of a terminal that has not been given a size.
const COLUMNS: usize = 80;

/// The rows of a terminal after all this has been written to it, without blanks at their ends. What is too long for a row
/// stays in one here; only what goes back to the beginning of one of its parts and erases from there begins a new one.
///
/// # Panics
/// At a sequence that is not known: nothing may use another.
pub fn rows(written: &str) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let mut column: usize = 0;
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        let row = rows.last_mut().expect("there is always one");
        match character {
            // A row that is full is left only by the next character.
            '\r' => column = column.saturating_sub(1) / COLUMNS * COLUMNS,
            '\n' => {
                rows.push(Vec::new());
                column = if column.is_multiple_of(COLUMNS) { 0 } else { column };
            }
            '\u{8}' => column = column.saturating_sub(1),
            '\u{7}' => {}
            '\x1b' => {
                assert_eq!(characters.next(), Some('['), "an unknown sequence in {written:?}");
                match characters.find(char::is_ascii_alphabetic) {
                    Some('J') if column > 0 && column.is_multiple_of(COLUMNS) => {
                        row.truncate(column);
                        rows.push(Vec::new());
                        column = 0;
                    }
                    // Below the last row there is nothing.
                    Some('K' | 'J') => row.truncate(column),
                    Some('m' | 'h' | 'l') | None => {}
                    Some(other) => panic!("the unknown sequence {other:?} in {written:?}"),
                }
            }
            _ => {
                row.resize(row.len().max(column + 1), ' ');
                row[column] = character;
                column += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}
