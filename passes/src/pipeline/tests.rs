//! Round trips and rendered errors of pipeline text.

use super::*;

#[test]
fn printing_is_the_inverse_of_parsing() {
    let mut steps = vec![Step { name: "dce".into(), options: vec![] }];
    let nested = Arg::List(vec![Arg::List(vec![Arg::Str("a\"\\b".into()), Arg::None]), Arg::Float(1e-30), Arg::Int(-7)]);
    let options = vec![("skip".into(), nested), ("levels".into(), Arg::Word("odd".into())), ("on".into(), Arg::Bool(true))];
    steps.push(Step { name: "other".into(), options });
    let printed = Pipeline { steps: steps.clone() }.to_string();
    assert_eq!(printed, r#"dce,other{skip=[["a\"\\b",none],1e-30,-7],levels=odd,on=true}"#);
    let parsed = Parser::new(&printed).pipeline().unwrap();
    assert_eq!(parsed.into_iter().map(|marked| marked.step).collect::<Vec<_>>(), steps);
}

#[test]
fn spaces_do_not_matter() {
    assert_eq!(Pipeline::parse("  dce , dce { } ").unwrap().to_string(), "dce,dce");
    assert_eq!(Pipeline::parse(" ").unwrap(), Pipeline::default());
}

fn error(text: &str) -> String {
    Pipeline::parse(text).unwrap_err().to_string()
}

#[test]
fn errors_name_the_column_and_the_nearest_name() {
    assert_eq!(
        error("dce,dec"),
        "error[pipeline::pass::unknown]: there is no pass `dec`\n  at: column 5 of the pipeline\n  help: did you mean `dce`?"
    );
    assert_eq!(
        error("dce{x=1}"),
        "error[pipeline::option::unknown]: pass `dce` has no option `x`\n  at: column 5 of the pipeline\n  help: `dce` has no options"
    );
    assert_eq!(error("dce{"), "error[pipeline::syntax]: expected an option, found the end\n  at: column 5 of the pipeline");
    assert_eq!(error("dce,"), "error[pipeline::syntax]: expected a pass, found the end\n  at: column 5 of the pipeline");
    assert_eq!(error("dce dce"), "error[pipeline::syntax]: expected `,` or the end, found `d`\n  at: column 5 of the pipeline");
    assert_eq!(error("a{b=\"c}"), "error[pipeline::syntax]: the string does not end\n  at: column 8 of the pipeline");
    assert_eq!(error("a{b=1x}"), "error[pipeline::syntax]: `1x` is not a number\n  at: column 5 of the pipeline");
}

#[test]
fn deep_lists_are_refused() {
    assert!(error(&format!("a{{b={}", "[".repeat(10_000))).contains("nested too deep"));
}
