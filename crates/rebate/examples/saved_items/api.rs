//! What the API answers.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answers::{denied, problem, quota_headers, trouble};
use crate::database::{self, Item};
use crate::service::{Quota, Saved, Service};
use crate::user::{RequestKey, User};

/// The longest address of an item.
const LONGEST: usize = 2048;

#[derive(Deserialize)]
struct Wish {
    url: String,
}

#[derive(Deserialize)]
struct Change {
    plan: String,
}

/// The routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/api/items", get(items).post(save))
        .route("/api/items/{id}", get(item))
        .route("/api/quota", get(quota))
        .route("/api/plan", put(change_plan))
        .with_state(service)
}

/// Saves an item, which waits for its enrichment from then on.
async fn save(
    State(service): State<Arc<Service>>,
    User(user): User,
    RequestKey(key): RequestKey,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Response {
    let url = match wish {
        Ok(Json(Wish { url })) if (1..=LONGEST).contains(&url.len()) => url,
        Ok(_) => return problem(StatusCode::UNPROCESSABLE_ENTITY, "URL_WRONG", "A URL has 1 to 2048 bytes."),
        Err(rejection) => return problem(rejection.status(), "BODY_WRONG", &rejection.body_text()),
    };
    let whose = user.clone();
    let answer = service.run(move |service| {
        let saved = service.save(&whose, &url, &key)?;
        // Of a request that was made before nothing is told by a charge.
        let quota = if matches!(saved, Saved::Before { .. }) { Some(service.quota(&whose)?) } else { None };
        Ok((saved, quota))
    });
    match (answer.await, user) {
        (Ok((Saved::New { item, used_today, quota }, _)), _) => {
            let mut told = json!(item);
            told["used_today"] = used_today.into();
            accepted(&item, &quota, told, "false")
        }
        (Ok((Saved::Before { item }, Some(quota))), _) => accepted(&item, &quota, json!(item), "true"),
        (Ok((Saved::Denied { denial, quota }, _)), user) => denied(&user, &denial, &quota),
        (Ok((Saved::Before { .. }, None)), _) => unreachable!("its quota was asked for"),
        (Err(error), _) => trouble(&error),
    }
}

fn accepted(item: &Item, quota: &Quota, told: Value, replayed: &str) -> Response {
    let headers = [("location", format!("/api/items/{}", item.id)), ("idempotency-replayed", replayed.to_owned())];
    (StatusCode::ACCEPTED, headers, quota_headers(&quota.daily), Json(told)).into_response()
}

async fn items(State(service): State<Arc<Service>>, User(user): User) -> Response {
    let items = service
        .run(move |service| Ok(service.database.transaction(|transaction| database::items_of(transaction, &user))?));
    items.await.map_or_else(|error| trouble(&error), |items| Json(items).into_response())
}

async fn item(State(service): State<Arc<Service>>, User(user): User, Path(id): Path<i64>) -> Response {
    let item = service.run(move |service| {
        Ok(service.database.transaction(|transaction| database::item_of(transaction, &user, id))?)
    });
    match item.await {
        Ok(Some(item)) => Json(item).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "ITEM_UNKNOWN", "There is no such item of yours."),
        Err(error) => trouble(&error),
    }
}

/// What the user has used, of what, until when. Asking costs nothing.
async fn quota(State(service): State<Arc<Service>>, User(user): User) -> Response {
    match service.run(move |service| service.quota(&user)).await {
        Ok(quota) => told(&quota),
        Err(error) => trouble(&error),
    }
}

/// Stands for what happens when somebody pays, or no longer does.
async fn change_plan(
    State(service): State<Arc<Service>>,
    User(user): User,
    change: Result<Json<Change>, JsonRejection>,
) -> Response {
    let plan = match change {
        Ok(Json(Change { plan })) if service.plans.is_offered(&plan) => plan,
        Ok(_) => return problem(StatusCode::UNPROCESSABLE_ENTITY, "PLAN_UNKNOWN", "There is no such plan."),
        Err(rejection) => return problem(rejection.status(), "BODY_WRONG", &rejection.body_text()),
    };
    let quota = service.run(move |service| {
        service.database.transaction(|transaction| database::set_plan(transaction, &user, &plan))?;
        service.quota(&user)
    });
    quota.await.map_or_else(|error| trouble(&error), |quota| told(&quota))
}

fn told(quota: &Quota) -> Response {
    let Quota { plan, at_once, daily } = quota;
    let body = json!({"plan": plan, "shown": daily.to_string(), "daily": daily, "at_once": at_once});
    (quota_headers(daily), Json(body)).into_response()
}
