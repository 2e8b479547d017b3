//! Every row of the attack table, on an account of its own.

use crate::attacks::attempt;
use crate::table::{ATTACKS, By};
use crate::world::World;

/// Tries the row of this name.
async fn row(name: &str) {
    let row = ATTACKS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"));
    let world = World::new().await;
    let outcome = attempt(&world, name).await;
    assert_eq!(outcome.done, row.by == By::Nothing, "{}: {}", row.attack, outcome.said);
    if row.by != By::Nothing {
        assert!(outcome.said.contains(row.says), "{}: {}", row.attack, outcome.said);
    }
}

macro_rules! rows {
    ($($function:ident $name:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $function() {
                row($name).await;
            }
        )+

        #[test]
        fn every_row_is_tried() {
            let tried = [$($name),+];
            let rows: Vec<_> = ATTACKS.iter().map(|row| row.name).collect();
            assert_eq!(tried.as_slice(), rows);
        }
    };
}

rows! {
    i5_an_agent_gets_no_session "agent";
    i5_an_identity_that_is_no_execution_gets_none "not-an-execution";
    i5_the_name_of_a_mutation_is_not_enough "another-name";
    i5_another_trust_anchor_leads_nowhere "second-anchor";
    another_trust_anchor_leads_on_where_nobody_asks "second-anchor-unasked";
    i5_an_identity_ends "late-identity";
    i5_a_ca_is_no_identity "ca-as-leaf";
    i5_the_first_session_changes_nothing "bootstrap-acts";
    i5_the_first_session_leads_to_one_role "bootstrap-elsewhere";
    the_first_session_leads_to_the_whole_role "bootstrap-wide";
    i5_no_other_action "other-action";
    i5_no_other_resource "other-resource";
    i5_no_other_service "other-service";
    i5_no_reading "reads";
    i5_no_use_after_the_certified_seconds "late";
    i5_no_role_chaining "chain";
    i5_no_session_of_the_same_role "chain-self";
    i5_no_federated_user "federate";
    i5_no_role_is_passed_on "pass-role";
    i5_no_policy_for_itself "grant";
    i5_no_tags_for_itself "tags";
    i5_no_grant_to_the_session "resource-policy";
    i5_no_grant_to_the_session_later "resource-policy-late";
    a_session_that_denies_nothing_explicitly_is_granted_more "resource-policy-implicit";
    i4_no_altered_request "altered";
    the_same_call_twice "again";
    an_administrator "admin";
    i5_no_administrator_of_an_organization "admin-bound";
    i5_no_other_boundary "admin-bound-boundary";
    i5_no_other_issuer "admin-bound-issuer";
    i5_no_administrator_in_an_execution_role "admin-bound-session";
    i5_no_administrator_tags_a_role "admin-bound-tag";
    an_administrator_of_the_management_account "admin-management";
}
