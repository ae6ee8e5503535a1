use super::*;

#[test]
fn the_files_that_are_built_in_are_consistent() {
    let catalogue = Catalogue::from_files(&Files::embedded()).unwrap();
    assert_eq!(catalogue.tables.len(), 8);
    assert_eq!(catalogue.tables[0].name, "calls");
    assert_eq!(catalogue.hash.len(), 64);
}

#[test]
fn inherited_columns_and_arguments_exist_and_have_the_same_type() {
    let catalogue = Catalogue::embedded();
    for table in &catalogue.tables {
        for column in &table.columns {
            let from = match &column.source {
                Source::Inherited { table, column } => Some((table.clone(), column.clone())),
                Source::Derived(d) if d.function == "inherit" => Some((d.arguments[0].clone(), d.arguments[1].clone())),
                _ => None,
            };
            let Some((parent, name)) = from else { continue };
            let parent = catalogue.table(&parent).unwrap();
            let found = &parent.columns[parent.column(&name).unwrap()];
            assert_eq!(found.data_type, column.data_type, "{}.{}", table.name, column.name);
        }
    }
}

#[test]
fn every_record_table_ends_with_extra_json_and_begins_with_the_call() {
    for table in &Catalogue::embedded().tables {
        assert_eq!(table.columns[0].name, "call_id", "{}", table.name);
        assert_eq!(table.columns[1].name, "call_start_date_time", "{}", table.name);
        assert_eq!(table.columns.last().unwrap().source, Source::ExtraJson, "{}", table.name);
    }
}

#[test]
fn no_two_columns_of_a_table_read_one_path() {
    for table in &Catalogue::embedded().tables {
        let mut seen = std::collections::HashSet::new();
        for column in &table.columns {
            let identity = table.identities.iter().any(|i| column.name.starts_with(&format!("{}_", i.prefix)));
            if let (Source::Value(paths), false) = (&column.source, identity) {
                for path in paths {
                    assert!(seen.insert(path.clone()), "{}: {path}", table.name);
                }
            }
        }
    }
}

#[test]
fn every_property_of_graph_is_covered() {
    let catalogue = Catalogue::embedded();
    let mut covered = Vec::new();
    for table in &catalogue.tables {
        covered.extend(table.rows.iter().map(|rows| rows.path.clone()));
        for column in &table.columns {
            covered.extend(table.graph_paths(column));
        }
    }
    let plain = |path: &str| path.replace("[]", "").replace("{}", "");
    let covered: std::collections::BTreeSet<String> = covered.iter().map(|path| plain(path)).collect();
    let properties: Vec<&str> = include_str!("../../tests/csdl_properties.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(properties.len() > 300, "{}", properties.len());
    let missing: Vec<_> = properties
        .iter()
        .filter(|property| {
            let property = plain(property);
            !covered.iter().any(|path| *path == property || path.starts_with(&format!("{property}.")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_documentation_of_the_tables_is_fresh() {
    let expected = documentation::markdown(Catalogue::embedded());
    let present = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tables.md")).unwrap_or_default();
    assert!(present == expected, "docs/tables.md is stale: make docs");
}

#[test]
fn personal_columns_are_marked() {
    for (table, column) in [
        ("calls", "organizer_display_name"),
        ("calls", "join_web_url"),
        ("participants", "identity_user_principal_name"),
        ("sessions", "caller_name"),
        ("sessions", "callee_feedback_text"),
        ("media", "caller_network_ip_address"),
        ("media", "callee_network_mac_address"),
        ("media", "caller_device_capture_device_name"),
        ("trace_route_hops", "ip_address"),
        ("streams", "sender_identity_id"),
        ("streams", "extra_json"),
    ] {
        let table = Catalogue::embedded().table(table).unwrap();
        assert!(table.columns[table.column(column).unwrap()].pii.is_some(), "{column}");
    }
}
