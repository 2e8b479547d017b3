//! tmp
#[test]
fn peek() {
    println!("{}", serde_json::to_string_pretty(&seb::contract::json_schema()).unwrap());
}
