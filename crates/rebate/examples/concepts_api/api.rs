//! What the API answers. Nothing in here knows a limit, a key or a window.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rebate::tower::Charged;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::Sent;
use crate::saved::Saved;
use crate::settings::Settings;
use crate::tasks::{Task, Tasks};
use crate::user::User;

/// What handlers share.
pub(crate) struct Service {
    tasks: Arc<Tasks>,
    saved: Saved,
    work_time: Duration,
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
}

#[derive(Deserialize)]
struct Export {
    concept: usize,
}

impl Service {
    pub(crate) fn new(tasks: Arc<Tasks>, settings: &Settings) -> Arc<Self> {
        Arc::new(Service { tasks, saved: Saved::default(), work_time: settings.work_time })
    }
}

/// The routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let auth = ["session", "login", "signup", "reset-password", "magic-link"];
    let mut router = Router::new()
        .route("/docs", get(|| async { "The documentation would be here.\n" }))
        .route("/redoc", get(|| async { "The documentation would be here.\n" }))
        .route("/openapi.json", get(|| async { Json(json!({"openapi": "3.1.0"})) }))
        .route("/api/health", get(|| async { "well\n" }))
        .route("/api/concepts/generate", post(submit))
        .route("/api/concepts/generate-with-palettes", post(submit))
        .route("/api/concepts/refine", post(submit))
        .route("/api/concepts/tasks/{id}", get(task))
        .route("/api/concepts/store", post(store))
        .route("/api/storage/store", post(store))
        .route("/api/storage/recent", get(recent))
        .route("/api/storage/concept/{id}", get(concept))
        .route("/api/export/process", post(export));
    for name in auth {
        router = router.route(&format!("/api/auth/{name}"), get(authenticate).post(authenticate));
    }
    router.method_not_allowed_fallback(other_method).with_state(service)
}

/// Files a task, unless one of the user's is unfinished.
async fn submit(
    State(service): State<Arc<Service>>,
    user: User,
    charged: Charged,
    Sent(Prompt { prompt }): Sent<Prompt>,
) -> Result<Response, Response> {
    let receipt = match charged.token() {
        Ok(receipt) => receipt,
        Err(error) => {
            give_back(&charged).await;
            return Err(trouble(&error));
        }
    };
    let task = Task::new(&user.0, &prompt, receipt);
    // Nothing is awaited from here to `keep`: a client that goes away cannot come between.
    match service.tasks.start(&task) {
        Ok(true) => {
            // From here on the charge is the task's: what refunds it is the worker, with the task's receipt.
            charged.keep();
            let location = format!("/api/concepts/tasks/{}", task.id);
            Ok((StatusCode::ACCEPTED, [("location", location)], Json(json!({"task": task.id}))).into_response())
        }
        // The rules say that a 409 gives the attempt back; the handler need not know.
        Ok(false) => Err(answer(StatusCode::CONFLICT, "A task of yours is still running.")),
        Err(error) => {
            give_back(&charged).await;
            Err(trouble(&error))
        }
    }
}

async fn task(State(service): State<Arc<Service>>, user: User, Path(id): Path<String>) -> Response {
    match service.tasks.find(&user.0, &id) {
        Some(state) => Json(json!({"task": id, "state": state})).into_response(),
        None => answer(StatusCode::NOT_FOUND, "There is no such task of yours."),
    }
}

async fn store(State(service): State<Arc<Service>>, user: User, Sent(Prompt { prompt }): Sent<Prompt>) -> Response {
    (StatusCode::CREATED, Json(service.saved.add(&user.0, prompt))).into_response()
}

async fn recent(State(service): State<Arc<Service>>, user: User) -> Response {
    Json(service.saved.recent(&user.0)).into_response()
}

async fn concept(State(service): State<Arc<Service>>, user: User, Path(id): Path<usize>) -> Response {
    match service.saved.find(&user.0, id) {
        Some(concept) => Json(concept).into_response(),
        None => answer(StatusCode::NOT_FOUND, "There is no such concept of yours."),
    }
}

/// Takes its time within the request.
async fn export(
    State(service): State<Arc<Service>>,
    user: User,
    charged: Charged,
    Sent(Export { concept }): Sent<Export>,
) -> Response {
    let Some(concept) = service.saved.find(&user.0, concept) else {
        // No work was done for it. Other 404s are charged, so that this is no matter of the rules.
        give_back(&charged).await;
        return answer(StatusCode::NOT_FOUND, "There is no such concept of yours to export.");
    };
    tokio::time::sleep(service.work_time).await;
    Json(json!({"export": concept})).into_response()
}

async fn authenticate() -> Json<Value> {
    Json(json!({"detail": "Whoever you say you are, you are: `Authorization: Bearer NAME`."}))
}

/// A browser asks with OPTIONS what it may send.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        let headers = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, POST"),
            ("access-control-allow-headers", "authorization, content-type"),
        ];
        return (StatusCode::NO_CONTENT, headers).into_response();
    }
    answer(StatusCode::METHOD_NOT_ALLOWED, "Nothing answers that method here.")
}

/// Refunds by hand. What comes of it, the layer logs and counts.
async fn give_back(charged: &Charged) {
    drop(charged.refund().await);
}

/// A fault of the system's own.
fn trouble(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "a request failed");
    answer(StatusCode::INTERNAL_SERVER_ERROR, "This is our fault. The headers say what is left.")
}

pub(crate) fn answer(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({"detail": detail}))).into_response()
}
