//! TPC-H: tables as Parquet files, and the 22 queries with the specification's validation parameters.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use datafusion::arrow::array::RecordBatchReader;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// The eight tables.
pub(crate) const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// Files of each of the larger tables: so many tasks read them.
const PARTS: i32 = 6;

/// The data of a scale in `directory`, made if it is not there.
pub(crate) fn data(directory: &Path, scale: f64) -> Result<PathBuf> {
    let data = directory.join(format!("data-{scale}"));
    let complete = data.join("complete");
    if !complete.exists() {
        println!("making TPC-H data, scale factor {scale}");
        generate(&data, scale)?;
        File::create(complete)?;
    }
    Ok(data)
}

/// Writes the tables into `directory`, one directory each.
pub(crate) fn generate(directory: &Path, scale: f64) -> Result<()> {
    for part in 1..=PARTS {
        let n = PARTS;
        write(directory, "customer", part, CustomerArrow::new(CustomerGenerator::new(scale, part, n)))?;
        write(directory, "lineitem", part, LineItemArrow::new(LineItemGenerator::new(scale, part, n)))?;
        write(directory, "orders", part, OrderArrow::new(OrderGenerator::new(scale, part, n)))?;
        write(directory, "part", part, PartArrow::new(PartGenerator::new(scale, part, n)))?;
        write(directory, "partsupp", part, PartSuppArrow::new(PartSuppGenerator::new(scale, part, n)))?;
        write(directory, "supplier", part, SupplierArrow::new(SupplierGenerator::new(scale, part, n)))?;
    }
    write(directory, "nation", 1, NationArrow::new(NationGenerator::new(scale, 1, 1)))?;
    write(directory, "region", 1, RegionArrow::new(RegionGenerator::new(scale, 1, 1)))
}

fn write(directory: &Path, table: &str, part: i32, rows: impl RecordBatchReader) -> Result<()> {
    let directory = directory.join(table);
    std::fs::create_dir_all(&directory)?;
    let file = File::create(directory.join(format!("{part}.parquet")))?;
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None)?;
    for batch in rows {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}

/// Makes the tables known to a session.
pub(crate) async fn register(context: &SessionContext, directory: &Path) -> Result<()> {
    for table in TABLES {
        let path = directory.join(table);
        let path = path.to_str().context("a path that is text")?;
        context.register_parquet(table, path, ParquetReadOptions::default()).await?;
    }
    Ok(())
}

/// Query `number` (1 to 22) as DataFusion reads it. Row limits are left out: all rows are compared.
pub(crate) fn query(number: usize, scale: f64) -> String {
    let template = tpchgen::q_and_a::queries::query(number as i32).unwrap_or_default();
    let fraction = (0.0001 / scale).to_string();
    let mut sql = template.to_owned();
    for (i, value) in parameters(number, &fraction).iter().enumerate().rev() {
        sql = sql.replace(&format!(":{}", i + 1), value);
    }
    // Precision of an interval's field: not read by DataFusion, and of no effect.
    sql = sql.replace("day (3)", "day");
    if number == 15 {
        sql = sql.replacen("create view revenue:s (", "with revenue (", 1).replacen(" as\n", " as (\n", 1);
        sql = sql.replacen(';', ")", 1).replace("revenue:s", "revenue");
        sql.truncate(sql.find("drop view").unwrap_or(sql.len()));
    }
    sql.trim().trim_end_matches(';').to_owned()
}

fn parameters(number: usize, fraction: &str) -> Vec<&str> {
    match number {
        1 => vec!["90"],
        2 => vec!["15", "BRASS", "EUROPE"],
        3 => vec!["BUILDING", "1995-03-15"],
        4 => vec!["1993-07-01"],
        5 => vec!["ASIA", "1994-01-01"],
        6 => vec!["1994-01-01", "0.06", "24"],
        7 => vec!["FRANCE", "GERMANY"],
        8 => vec!["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
        9 => vec!["green"],
        10 => vec!["1993-10-01"],
        11 => vec!["GERMANY", fraction],
        12 => vec!["MAIL", "SHIP", "1994-01-01"],
        13 => vec!["special", "requests"],
        14 => vec!["1995-09-01"],
        15 => vec!["1996-01-01"],
        16 => vec!["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
        17 => vec!["Brand#23", "MED BOX"],
        18 => vec!["300"],
        19 => vec!["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
        20 => vec!["forest", "1994-01-01", "CANADA"],
        21 => vec!["SAUDI ARABIA"],
        22 => vec!["13", "31", "23", "29", "30", "18", "17"],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_all_its_parameters() {
        for number in 1..=22 {
            let sql = query(number, 0.01);
            let left =
                sql.match_indices(':').any(|(at, _)| sql[at + 1..].starts_with(|c: char| c.is_ascii_alphanumeric()));
            assert!(!left && !sql.contains(';') && sql.len() > 100, "Q{number}: {sql}");
        }
    }
}
