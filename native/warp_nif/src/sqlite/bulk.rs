//! Inserting many rows with each statement.

use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, Connection};

/// How many rows at once.
const AT_ONCE: usize = 16;

/// Inserts all of these: `insert` is an INSERT up to its VALUES, and `values` gives what a row has. To begin a statement
/// and to find the place in the table costs as much as a row, so some share it. Errors: those of the database, after which
/// the transaction under way is only to be undone: with `OR FAIL` or the like SQLite need not be ready to undo a statement.
pub fn insert_all<'r, R, const N: usize>(
    connection: &Connection,
    insert: &str,
    rows: &'r [R],
    values: impl Fn(&'r R) -> [ToSqlOutput<'r>; N],
) -> rusqlite::Result<()> {
    let prepare = |rows: usize| -> rusqlite::Result<CachedStatement<'_>> {
        let row = format!("({})", vec!["?"; N].join(","));
        connection.prepare_cached(&format!(
            "{insert} VALUES {}",
            vec![row.as_str(); rows].join(",")
        ))
    };
    let run = |statement: &mut CachedStatement<'_>, rows: &'r [R]| -> rusqlite::Result<()> {
        for (at, value) in rows.iter().flat_map(&values).enumerate() {
            statement.raw_bind_parameter(at + 1, value)?;
        }
        statement.raw_execute().map(drop)
    };
    let (groups, rest) = rows.as_chunks::<AT_ONCE>();
    if !groups.is_empty() {
        let mut many = prepare(AT_ONCE)?;
        for group in groups {
            run(&mut many, group)?;
        }
    }
    if !rest.is_empty() {
        let mut one = prepare(1)?;
        for row in rest.chunks(1) {
            run(&mut one, row)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_inserted_in_order() {
        let connection = Connection::open_in_memory().expect("opened");
        let create = "CREATE TABLE t (number INTEGER PRIMARY KEY, name TEXT NOT NULL)";
        connection.execute_batch(create).expect("made");
        let all = |count: i64, first: i64| {
            let rows: Vec<(i64, String)> = (first..first + count)
                .map(|n| (n, format!("n{n}")))
                .collect();
            insert_all(
                &connection,
                "INSERT OR FAIL INTO t (number, name)",
                &rows,
                |(number, name)| [(*number).into(), name.as_str().into()],
            )
        };
        let mut first = 0;
        for count in [0, 1, 15, 16, 17, 50] {
            all(count, first).expect("inserted");
            first += count;
            let sql = "SELECT count(*), coalesce(max(number), -1), count(*) FILTER (WHERE name = 'n' || number) FROM t";
            let found =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            assert_eq!(found, Ok((first, first - 1, first)), "{count}");
        }
        assert!(all(20, 90).is_err());
    }
}
