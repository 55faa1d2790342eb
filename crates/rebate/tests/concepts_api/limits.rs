//! Who may do what how often, and what answers say of it.

use serde_json::json;

use crate::client::Answer;
use crate::program::{Api, Folder, shipped_rules};

/// The month, at its longest.
const MONTH: u64 = 31 * 86_400;

#[test]
fn ten_attempts_pass_and_the_next_says_when_to_come_again() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("WORK_TIME", "0ms")]);
    for left in (0..10).rev() {
        let (answer, task) = api.submit("ada", "/api/concepts/generate", "a lighthouse");
        let [limit, remaining, reset] = answer.told().expect("every response of a limited path says it");
        assert_eq!((limit, remaining), (10, left));
        assert!((1..=MONTH).contains(&reset), "{reset} seconds");
        api.wait("ada", &task, "done");
    }
    let answer = api.post("ada", "/api/concepts/generate", "a lighthouse");
    assert_eq!(answer.short(), (429, Some(0)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let wait: u64 = answer.header("retry-after").expect("a wait").parse().expect("seconds");
    assert!((1..=MONTH).contains(&wait), "seconds from now, no moment: {wait}");
    assert_eq!(answer.header("ratelimit"), Some(&*format!("\"/concepts/generate\";r=0;t={wait}")));
    assert!(answer.header("ratelimit-policy").is_some_and(|policy| policy.starts_with("\"/concepts/generate\";q=10")));

    let body = answer.json();
    let detail = body["detail"].as_str().expect("what clients read");
    assert!(detail.starts_with("Rate limit exceeded for /concepts/generate (10/month). "), "{detail}");
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["status"], 429);
    assert_eq!((&body["rule"], &body["limit"]), (&json!("/concepts/generate"), &json!("/concepts/generate")));
    assert_eq!(body["violated-policies"], json!(["/concepts/generate"]));
    assert_eq!(body["code"], "CONCEPTS_GENERATE_EXCEEDED");

    let (answer, _) = api.submit("grace", "/api/concepts/generate", "a lighthouse");
    assert_eq!(answer.told().map(|[_, left, _]| left), Some(9), "another user's attempts");
}

#[test]
fn each_path_has_its_limit() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("WORK_TIME", "0ms")]);
    let cases = [
        ("POST", "/api/concepts/generate", 202, 10),
        ("POST", "/api/concepts/generate-with-palettes", 202, 10),
        ("POST", "/api/concepts/refine", 202, 10),
        ("POST", "/api/concepts/store", 201, 10),
        ("POST", "/api/storage/store", 201, 10),
        ("GET", "/api/storage/recent", 200, 60),
        ("GET", "/api/storage/concept/1", 200, 30),
        ("GET", "/api/storage/concept", 404, 30),
        ("POST", "/api/export/process", 200, 50),
    ];
    for (number, (method, path, status, limit)) in cases.into_iter().enumerate() {
        // A user each: none is charged for what another path has taken.
        let user = format!("user-{number}");
        assert_eq!(api.post(&user, "/api/storage/store", "a lighthouse").status, 201);
        let body = (method == "POST").then(|| json!({"prompt": "a lighthouse", "concept": 1}));
        let answer = api.send(method, &user, path, body);
        let taken = if path == "/api/storage/store" { 2 } else { 1 };
        let [told, remaining, _] = answer.told().unwrap_or_else(|| panic!("{path}: {answer:?}"));
        assert_eq!((answer.status, told, remaining), (status, limit, limit - taken), "{path}");
    }
}

#[test]
fn two_limits_are_charged_both_or_neither() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[("WORK_TIME", "0ms")]);
    let (answer, task) = api.submit("ada", "/api/concepts/generate-with-palettes", "a lighthouse");
    let told = answer.header("ratelimit").expect("both limits");
    assert!(told.contains("\"/concepts/generate\";r=9;") && told.contains("\"/concepts/store\";r=9;"), "{told}");
    assert!(!told.contains("palettes"), "it has no limit of its own: {told}");
    api.wait("ada", &task, "done");

    for left in (0..9).rev() {
        assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(left)));
    }
    // The second denies.
    for _ in 0..3 {
        let answer = api.post("ada", "/api/concepts/generate-with-palettes", "a lighthouse");
        assert_eq!(answer.short(), (429, Some(0)), "{answer:?}");
        let body = answer.json();
        assert_eq!(body["rule"], "/concepts/generate-with-palettes");
        assert_eq!(body["violated-policies"], json!(["/concepts/store"]));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.starts_with("Rate limit exceeded for /concepts/store (10/month). "), "{detail}");
    }
    // The first is untouched.
    let (answer, _) = api.submit("ada", "/api/concepts/generate", "a lighthouse");
    assert_eq!(answer.short(), (202, Some(8)));

    // The same the other way round.
    for _ in 0..10 {
        let (_, task) = api.submit("grace", "/api/concepts/generate", "a lighthouse");
        api.wait("grace", &task, "done");
    }
    let answer = api.post("grace", "/api/concepts/generate-with-palettes", "a lighthouse");
    assert_eq!((answer.status, &answer.json()["limit"]), (429, &json!("/concepts/generate")));
    assert_eq!(api.post("grace", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));
}

#[test]
fn the_most_specific_rule_wins() {
    let tasks = Folder::new();
    let rules = tasks.write(
        "rules.toml",
        "base = '/api'\n\
         [[rule]]\nprefix = '/concepts'\nlimit = '1000/month'\n\
         [[rule]]\npath = '/concepts/{name}'\nlimit = '100/month'\n\
         [[rule]]\npath = '/concepts/generate'\nlimit = '10/month'\n",
    );
    let api = Api::start(&tasks, &[("RULES", &rules)]);
    for (path, limit) in [
        ("/api/concepts/generate", Some(10)),
        ("/api/concepts/generate-with-palettes", Some(100)),
        ("/api/concepts/refine", Some(100)),
        ("/api/concepts/tasks/1", Some(1000)),
        ("/api/concepts", Some(1000)),
        ("/api/conceptsandmore", None),
        ("/api/storage/recent", None),
    ] {
        let told = api.get("ada", path).told();
        assert_eq!(told.map(|[limit, ..]| limit), limit, "{path}");
    }
}

/// The shipped rules with everything else below /api at one a month, so that only an exemption can let more pass.
fn strict(tasks: &Folder) -> String {
    tasks.write("rules.toml", &(shipped_rules() + "\n[[rule]]\nname = 'other'\nprefix = '/'\nlimit = '1/month'\n"))
}

#[test]
fn what_is_exempt_is_never_limited() {
    let tasks = Folder::new();
    let rules = strict(&tasks);
    let api = Api::start(&tasks, &[("RULES", &rules)]);
    assert_eq!(api.get("ada", "/api/concepts/tasks/1").short(), (404, Some(0)));
    assert_eq!(api.get("ada", "/api/concepts/tasks/1").status, 429, "what is not exempt is limited");
    let exempt = ["/docs", "/redoc", "/openapi.json", "/api/health"]
        .map(str::to_owned)
        .into_iter()
        .chain(["session", "login", "signup", "reset-password", "magic-link"].map(|name| format!("/api/auth/{name}")));
    for path in exempt {
        // Also for somebody whose attempts are used up, and for nobody.
        for user in ["ada", "ada", "ada", "", ""] {
            let answer = api.get(user, &path);
            assert_eq!(answer.short(), (200, None), "{path}");
        }
    }
    assert_eq!(api.get("ada", "/elsewhere").short(), (404, None), "outside /api");
    assert_eq!(api.get("ada", "/api/auth/other").status, 429, "the list of /api/auth is whole");
}

#[test]
fn options_cost_nothing_and_head_costs_what_get_does() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    for _ in 0..20 {
        let answer = api.send("OPTIONS", "ada", "/api/concepts/store", None);
        assert_eq!(answer.short(), (204, None));
    }
    assert_eq!(api.post("ada", "/api/concepts/store", "a lighthouse").short(), (201, Some(9)));

    let rules =
        tasks.write("rules.toml", "[[rule]]\npath = '/api/storage/recent'\nlimit = '10/month'\nmethods = ['GET']\n");
    let api = Api::start(&tasks, &[("RULES", &rules)]);
    assert_eq!(api.get("ada", "/api/storage/recent").short(), (200, Some(9)));
    assert_eq!(api.send("HEAD", "ada", "/api/storage/recent", None).short(), (200, Some(8)));
    assert_eq!(api.get("ada", "/api/storage/recent").short(), (200, Some(7)));
}

#[test]
fn whoever_is_nobody_is_told_so_and_charged_to_nobody() {
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    for _ in 0..12 {
        let answer = api.post("", "/api/concepts/store", "a lighthouse");
        assert_eq!(answer.short(), (401, None));
        assert_eq!(answer.json()["code"], "USER_MISSING");
    }
    let long = "x".repeat(65);
    for name in ["\u{fc}", "", " ", "two names", &long] {
        let request = format!(
            "POST /api/concepts/store HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {name}\r\nconnection: close\r\n\
             content-length: 0\r\n\r\n"
        );
        let answer = api.raw_bytes(request.as_bytes());
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[test]
fn switched_off_nothing_is_limited() {
    let tasks = Folder::new();
    let rules = strict(&tasks);
    let file = tasks.write("off.toml", &format!("enabled = false\n{}", shipped_rules()));
    // By the environment, and by the rule file.
    for settings in [[("LIMITING", "off"), ("RULES", &*rules)], [("LIMITING", "on"), ("RULES", &*file)]] {
        let own = Folder::new();
        let api = Api::start(&own, &settings);
        let answers: Vec<Answer> = (0..12).map(|_| api.post("ada", "/api/concepts/store", "a lighthouse")).collect();
        assert!(answers.iter().all(|answer| answer.short() == (201, None)), "{settings:?} {answers:?}");
        assert_eq!(api.get("ada", "/api/concepts/tasks/1").short(), (404, None));
        // Tasks are worked on and fail as ever, with nothing to give back.
        let (_, task) = api.submit("ada", "/api/concepts/generate", "hang");
        assert_eq!(api.post("ada", "/api/concepts/generate", "hang").short(), (409, None));
        assert!(task.starts_with("/api/concepts/tasks/"));
        assert_eq!(api.get("", "/api/storage/recent").status, 401, "who is nobody stays it");
    }
}
