//! Crumbs: what a controller wants besides a password. API tokens need none.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use super::client::Controller;
use super::error::ControllerError;
use super::http::{Answer, shown};

/// A crumb, and the session that it is bound to.
#[derive(Clone, Debug)]
struct Crumb {
    field: HeaderName,
    value: HeaderValue,
    cookies: Option<HeaderValue>,
}

/// The crumb in use, if one was needed.
#[derive(Debug, Default)]
pub(crate) struct CrumbJar(Mutex<Option<Crumb>>);

impl CrumbJar {
    pub(crate) fn clear(&self) {
        self.put(None);
    }

    /// Adds the crumb and its session's cookie, if there is one.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        let Some(crumb) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return request };
        let request = request.header(crumb.field, crumb.value);
        match crumb.cookies {
            Some(cookies) => request.header(COOKIE, cookies),
            None => request,
        }
    }

    fn put(&self, crumb: Option<Crumb>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = crumb;
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    crumb: String,
    crumb_request_field: String,
}

impl Controller {
    /// Fetches a crumb. False if the controller issues none.
    pub(super) async fn fetch_crumb(&self) -> Result<bool, ControllerError> {
        self.crumbs.clear();
        let answer = self.get("crumbIssuer/api/json").await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(false),
            _ => return Err(self.refusal(&answer)),
        }
        self.crumbs.put(Some(parse(&answer)?));
        Ok(true)
    }
}

fn parse(answer: &Answer) -> Result<Crumb, ControllerError> {
    let garbage = |why: String| ControllerError::Garbage { url: shown(&answer.url), why };
    let issued: Issued = serde_json::from_slice(&answer.body).map_err(|error| garbage(error.to_string()))?;
    let field = HeaderName::try_from(&issued.crumb_request_field).map_err(|error| garbage(error.to_string()))?;
    let mut value = HeaderValue::try_from(&issued.crumb).map_err(|error| garbage(error.to_string()))?;
    value.set_sensitive(true);
    Ok(Crumb { field, value, cookies: cookies(&answer.headers) })
}

/// The cookies that were set, as they are sent back: names and values, without what concerns only browsers.
fn cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let set = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<&str> = set
        .filter_map(|cookie| cookie.split(';').next())
        .map(str::trim)
        .filter(|pair| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty()))
        .collect();
    let mut value = HeaderValue::try_from(pairs.join("; ")).ok().filter(|_| !pairs.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_sent_back_without_their_attributes() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookies(&headers), None);
        for cookie in ["JSESSIONID.8d=node0; Path=/; HttpOnly", "remember-me=; Path=/", "lb=1"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        assert_eq!(cookies(&headers).unwrap(), "JSESSIONID.8d=node0; lb=1");
    }
}
