//! Choosing a rule for a plain path and making the items of a charge allocate nothing: they are on the way of every
//! request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rebate_rules::{Chosen, KeyBuffer, Rule, Rules, Subject};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Request(IpAddr);

impl Subject for Request {
    fn user(&self) -> Option<Cow<'_, [u8]>> {
        Some(b"0123456789abcdef".into())
    }

    fn address(&self) -> Option<IpAddr> {
        Some(self.0)
    }
}

#[test]
fn a_plain_path_is_chosen_for_and_its_items_made_without_an_allocation() {
    let rules = Rules::builder()
        .base("/api")
        .shared_limit("daily", "50/day")
        .shared_limit("burst", "10/second")
        .exempt_path("/health")
        .exempt_prefix("/auth")
        .exempt_network("10.0.0.0/8")
        .exempt_key("user:admin")
        .rule(Rule::path("/generate").limit("10/month").charge("daily").charge("burst").group("fixed:all"))
        .rule(Rule::prefix("/storage").limit("10/month").key("ip"))
        .rule(Rule::path("/export/{id}").limit("10/month").methods(["POST"]))
        .build()
        .expect("sound rules");
    let addresses =
        [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6))];
    for address in addresses {
        for (path, charged) in [
            ("/api/generate", 3),
            ("/api/generate/", 3),
            ("/api/storage", 1),
            ("/api/storage/.well-known/a/b", 1),
            ("/api/export/7", 1),
            ("/api/health", 0),
            ("/api/auth/login", 0),
            ("/api/nothing", 0),
            ("/elsewhere", 0),
        ] {
            let before = ALLOCATIONS.get();
            let mut keys = KeyBuffer::new();
            let items = match rules.choose("POST", path) {
                Chosen::Charged(charge) => charge.items(&Request(address), &mut keys).map_or(0, |items| items.len()),
                _ => 0,
            };
            let allocations = ALLOCATIONS.get() - before;
            assert_eq!((items, allocations), (charged, 0), "{path}");
        }
    }
}
