//! Law 10: no two different (limit, key) pairs share state, whatever bytes they hold.

use rebate_core::{Idempotency, Item, KeyRef, Limit, MAX_KEY_BYTES};

use super::scene::{Scene, admitted, limit};
use crate::Harness;

/// Charges each pair another cost; then each must have used its own, and lists must name it exactly.
#[track_caller]
fn assert_apart<H: Harness>(scene: &Scene<'_, H>, pairs: &[(&Limit, KeyRef<'_>)]) {
    for (cost, (limit, key)) in (1..).zip(pairs) {
        let _ = scene.take(limit, *key, cost);
    }
    for (cost, (limit, key)) in (1..).zip(pairs) {
        assert_eq!(scene.peek(limit, *key).used(), cost, "pair {cost}: {key:?} of {limit:?}");
    }
    for (cost, (limit, key)) in (1..).zip(pairs) {
        let listed = scene.listed(limit);
        let own = listed.iter().find(|(listed, _)| listed.as_ref() == *key).map(|(_, status)| status.used());
        assert_eq!(own, Some(cost), "pair {cost} in the list");
    }
}

/// Separators, braces, newlines, NUL and the empty key.
pub fn bytes_are_only_bytes<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let keys: [&[u8]; 30] = [
        b"",
        b"a",
        b"A",
        b"a ",
        b" a",
        b"a:",
        b":a",
        b"a:b",
        b"a/b",
        b"a|b",
        b"a\\b",
        b"a,b",
        b"a.b",
        b"{a}",
        b"{a}b",
        b"{}",
        b"{",
        b"}",
        b"a\n",
        b"a\r\n",
        b"\n",
        b"\0",
        b"\0\0",
        b"a\0",
        b"a\0b",
        b"\"a\"",
        b"*",
        b"%00",
        b"\xff",
        b"\xc3\xa9",
    ];
    let pairs: Vec<_> = keys.iter().map(|key| (&limit, KeyRef::new(key))).collect();
    assert_apart(&scene, &pairs);
}

/// Where a limit's name ends and a key begins is never in doubt.
pub fn names_and_keys_do_not_run_together<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limits = ["a", "a:b", "a:", "a{b", "a/b", "ab", "1", "11"].map(|name| limit(name, "1000/hour"));
    let keys = ["c", "b:c", ":c", "b}c", "b/c", "bc", "1c", "{b}c", ""];
    let pairs: Vec<_> = limits.iter().flat_map(|limit| keys.map(|key| (limit, KeyRef::from(key)))).collect();
    assert_apart(&scene, &pairs);
}

/// Nor where a group ends; the same bytes in two groups, or in none, are different keys.
pub fn groups_and_keys_do_not_run_together<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limits = ["limit", "other"].map(|name| limit(name, "1000/hour"));
    let texts = ["", "a", "ab", "abc", "b", "bc", "c", ":", "a:b", "{a}", "a}", "\0"];
    let mut keys: Vec<KeyRef<'_>> = texts.iter().map(|text| KeyRef::from(*text)).collect();
    for (group, key) in [
        ("", ""),
        ("", "a"),
        ("a", ""),
        ("", "abc"),
        ("abc", ""),
        ("a", "bc"),
        ("ab", "c"),
        ("a", "b"),
        ("b", "a"),
        ("a:b", ""),
        ("a", ":b"),
        ("", "a:b"),
        ("{a}", ""),
        ("a}", "{"),
        ("\0", ""),
        ("", "\0"),
    ] {
        keys.push(KeyRef::in_group(group, key));
    }
    let pairs: Vec<_> = limits.iter().flat_map(|limit| keys.iter().map(move |key| (limit, *key))).collect();
    assert_apart(&scene, &pairs);
}

/// Keys that begin alike, around every length that a store may hold in another way.
pub fn prefixes_are_other_keys<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let zeros = [0u8; 300];
    let mut keys: Vec<KeyRef<'_>> = (0..40).map(|length| KeyRef::new(&zeros[..length])).collect();
    keys.extend([63, 64, 65, 127, 128, 129, 254, 255, 256, 257, 300].map(|length| KeyRef::new(&zeros[..length])));
    keys.extend((0..30).map(|length| KeyRef::in_group(&zeros[..length], &zeros[..30 - length])));
    let pairs: Vec<_> = keys.into_iter().map(|key| (&limit, key)).collect();
    assert_apart(&scene, &pairs);
}

/// 64 KiB of text is a key like any other, and differs by its last byte.
pub fn long_keys_are_told_apart<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let mut texts = [vec![b'k'; MAX_KEY_BYTES], vec![b'k'; MAX_KEY_BYTES], vec![b'k'; MAX_KEY_BYTES - 1]];
    texts[1][MAX_KEY_BYTES - 1] = b'K';
    let mut pairs: Vec<_> = texts.iter().map(|text| (&limit, KeyRef::new(text))).collect();
    pairs.push((&limit, KeyRef::in_group(&texts[0], &texts[1])));
    pairs.push((&limit, KeyRef::in_group(&texts[1], &texts[0])));
    assert_apart(&scene, &pairs);
    // Their receipts find them.
    let mut receipt = scene.take(&limit, &texts[0], 5);
    assert_eq!(scene.refund(&mut scene.copy(&receipt), 3).given_back(), 3);
    assert_eq!(scene.refund(&mut receipt, 5).given_back(), 2);
    assert_eq!(scene.peek(&limit, &texts[0]).used(), 1);
}

/// A byte more is refused before anything is taken.
pub fn longer_keys_are_refused<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let long = vec![b'k'; MAX_KEY_BYTES + 1];
    let good = KeyRef::in_group("g", "k");
    for key in [KeyRef::new(&long), KeyRef::in_group(&long, "k"), KeyRef::in_group("g", &long)] {
        // Before it a good one, if its group has any: of two groups a store may say that first.
        let first = if key.group() == good.group() { good } else { key };
        let items = [Item::new(&limit, first), Item::new(&limit, key)];
        for items in [&items[..], &items[1..]] {
            let error = scene.run(scene.limiter.charge_all(items)).expect_err("too long");
            assert!(error.is_invalid() && !error.may_have_happened(), "{error:?}");
        }
        assert!(scene.run(scene.limiter.peek(&limit, key)).expect_err("too long").is_invalid());
    }
    assert!(scene.listed(&limit).is_empty());
}

/// Idempotency keys of different scopes do not meet, wherever one ends and the other begins.
pub fn idempotency_keys_do_not_meet<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let mut billed = 0;
    for (scope, request) in
        [("a", "b:c"), ("a:b", "c"), ("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", "a"), ("c", "b")]
    {
        for key in [KeyRef::from(scope), KeyRef::in_group("g", scope), KeyRef::in_group(scope, "g")] {
            let receipt = admitted(scene.once(&[Item::new(&limit, key)], Idempotency::new(request)));
            assert!(!receipt.is_replay(), "{scope} {request}");
            billed += 1;
        }
    }
    let used: u64 = scene.listed(&limit).iter().map(|(_, status)| status.used()).sum();
    assert_eq!(used, billed);
}
