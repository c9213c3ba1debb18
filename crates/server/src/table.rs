//! Columns of text.

/// The rows under their headings, each column as wide as its widest cell. Ends with a newline.
pub(crate) fn table<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut push = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    push(*headings);
    for row in rows {
        push(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let rows = [["a".to_owned(), "1".to_owned()], ["übung".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME   N\na      1\nübung\n");
    }
}
