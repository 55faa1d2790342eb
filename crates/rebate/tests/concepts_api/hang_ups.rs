//! Clients that hang up.

use rebate_servers::{Server, until};

use crate::program::{Api, Folder};

/// An export under way, which nobody will wait for to its end.
const SETTINGS: [(&str, &str); 1] = [("WORK_TIME", "600s")];
const BODY: &str = r#"{"concept": 1}"#;

fn export(length: usize, body: &str) -> Vec<u8> {
    format!(
        "POST /api/export/process HTTP/1.1\r\nhost: api\r\nauthorization: Bearer ada\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Waits until the charge of a request can be seen by another one.
fn charged(api: &Api) {
    until("the export is charged", || (api.exports_left("ada") == 49).then_some(()));
}

#[test]
fn whoever_hangs_up_has_paid() {
    // While its handler works, and while it waits for the rest of the body.
    for body in [BODY, &BODY[..5]] {
        let (server, tasks) = (Server::start(), Folder::new());
        let api = Api::over(&server, &tasks, &SETTINGS);
        assert_eq!(api.post("ada", "/api/storage/store", "a lighthouse").status, 201);
        let client = api.connect(&export(BODY.len(), body));
        charged(&api);
        drop(client);
        // It ends at once, so nothing is under way: what becomes of a request that was hung up on is decided.
        let log = api.process.stop();
        assert!(!log.contains("broken off"), "{log}");
        let api = Api::over(&server, &tasks, &SETTINGS);
        assert_eq!(api.exports_left("ada"), 49);
    }
}

#[test]
fn by_configuration_it_is_given_back() {
    for body in [BODY, &BODY[..5]] {
        for server in [None, Some(Server::start())] {
            let tasks = Folder::new();
            let settings = [SETTINGS[0], ("REFUND_ON_DISCONNECT", "on")];
            let api = match &server {
                Some(server) => Api::over(server, &tasks, &settings),
                None => Api::start(&tasks, &settings),
            };
            assert_eq!(api.post("ada", "/api/storage/store", "a lighthouse").status, 201);
            let client = api.connect(&export(BODY.len(), body));
            charged(&api);
            drop(client);
            until("the export is given back", || (api.exports_left("ada") == 50).then_some(()));
        }
    }
}
