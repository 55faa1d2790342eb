//! Floors: bare commands and scripts of the same shape as ours, without receipts, driven over the same kind of connection.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::{Charger, Machine};

/// A bare command or script.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Its name in the table.
    pub name: &'static str,
    /// What the project's issue says it takes on such a machine, in microseconds; where it says anything.
    pub said: Option<f64>,
    /// The script; the command INCRBY without one.
    script: Option<&'static str>,
    /// How many keys it takes.
    keys: usize,
}

/// Every floor that the issue tells a figure of, and those that ours are compared with.
pub const FLOORS: [Floor; 13] = [
    Floor { name: "INCRBY", said: Some(0.64), script: None, keys: 1 },
    Floor { name: "return 1", said: Some(1.46), script: Some("return 1"), keys: 1 },
    Floor { name: "fixed, integer reply", said: Some(2.4), script: Some(FIXED_INTEGER), keys: 1 },
    Floor { name: "fixed, with TIME", said: Some(2.9), script: Some(FIXED_TIME), keys: 1 },
    Floor { name: "fixed", said: Some(3.7), script: Some(FIXED), keys: 1 },
    Floor { name: "GCRA, integer reply", said: Some(2.6), script: Some(GCRA_INTEGER), keys: 1 },
    Floor { name: "GCRA", said: None, script: Some(GCRA), keys: 1 },
    Floor { name: "sliding, integer reply", said: Some(3.1), script: Some(SLIDING_INTEGER), keys: 2 },
    Floor { name: "sliding", said: None, script: Some(SLIDING), keys: 2 },
    Floor { name: "log", said: None, script: Some(LOG), keys: 1 },
    Floor { name: "three, charge and undo", said: Some(4.2), script: Some(THREE_UNDONE), keys: 3 },
    Floor { name: "three, check and charge", said: Some(6.2), script: Some(SEVERAL), keys: 3 },
    Floor { name: "GCRA as redis_rate's", said: Some(6.8), script: Some(GCRA_USUAL), keys: 1 },
];

/// The floor of this name.
///
/// # Panics
/// When there is none.
pub fn floor(name: &str) -> Floor {
    *FLOORS.iter().find(|floor| floor.name == name).expect("a floor of this name")
}

/// What the scripts are told. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Units of a window.
    pub quota: u64,
    /// The window's length.
    pub window: u64,
    /// How many keys are charged in turn.
    pub keys: usize,
}

/// A floor at work.
#[derive(Clone)]
pub struct Bare {
    connection: MultiplexedConnection,
    floor: Floor,
    sha: String,
    quota: String,
    /// Microseconds of a unit, for GCRA.
    unit: String,
    milliseconds: String,
    tag: &'static str,
    keys: usize,
}

impl Bare {
    /// Puts the script on the server.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn new(machine: &Machine, floor: Floor, tag: &'static str, terms: Terms) -> Self {
        let sha = floor.script.map_or(String::new(), |script| machine.server.ask(&["SCRIPT", "LOAD", script]));
        let Terms { quota, window, keys } = terms;
        let bare = Bare {
            connection: machine.connection(),
            floor,
            sha,
            quota: quota.to_string(),
            unit: (window / quota).max(1).to_string(),
            milliseconds: (window / 1000).max(1).to_string(),
            tag,
            keys,
        };
        // What was in the window before, for the two keys of a sliding window.
        if floor.script == Some(SLIDING) || floor.script == Some(SLIDING_INTEGER) {
            (0..keys).for_each(|number| {
                machine.server.ask(&["SET", &bare.key(number, 1), "100"]);
            });
        }
        bare
    }

    fn key(&self, number: usize, part: usize) -> String {
        // As long as ours: `rebate:{kuser:000042}:c:…`.
        format!("bare:{{kuser!{:06}}}:{}:{part}", number % self.keys, self.tag)
    }

    fn command(&self, number: usize) -> Cmd {
        let mut command = Cmd::with_capacity(9, 200);
        let Some(_) = self.floor.script else {
            command.arg("INCRBY").arg(self.key(number, 0)).arg("1");
            return command;
        };
        command.arg("EVALSHA").arg(&self.sha).arg(self.floor.keys);
        (0..self.floor.keys).for_each(|part| {
            command.arg(self.key(number, part));
        });
        command.arg("1").arg(&self.quota).arg(&self.milliseconds);
        match self.floor.name {
            "log" => command.arg(number),
            name if name.starts_with("GCRA") => command.arg(&self.unit),
            _ => &mut command,
        };
        command
    }
}

impl Charger for Bare {
    async fn charge(&self, number: usize) -> bool {
        let mut connection = self.connection.clone();
        match connection.send_packed_command(&self.command(number)).await.expect("an answer") {
            Value::Int(admitted) => admitted > 0,
            Value::Array(answer) => matches!(answer.first(), Some(Value::Int(1..))),
            other => panic!("{}: {other:?}", self.floor.name),
        }
    }
}

// Arguments: cost · quota · window in milliseconds · of GCRA a unit's microseconds, of a log a name.
// A denial leaves the count as it was only where it must: else a floor would be easier to reach.

const FIXED_INTEGER: &str = "
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if used > tonumber(ARGV[2]) then return 0 end
return used";

const FIXED_TIME: &str = "
local time = redis.call('TIME')
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if used > tonumber(ARGV[2]) then return 0 end
return used";

const FIXED: &str = "
local time = redis.call('TIME')
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
local quota = tonumber(ARGV[2])
if used > quota then return { 0, 0, time[1] + 1 } end
return { 1, quota - used, time[1] + 1 }";

const GCRA_INTEGER: &str = "
local unit, span = tonumber(ARGV[4]), ARGV[3] * 1000
local tat = redis.call('INCRBY', KEYS[1], ARGV[4])
if tat == unit then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if tat > span then
    redis.call('DECRBY', KEYS[1], ARGV[4])
    return 0
end
return tat";

const GCRA: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ahead = redis.call('INCRBY', KEYS[1], ARGV[4]) - now
local unit, span = tonumber(ARGV[4]), ARGV[3] * 1000
if ahead < unit then
    ahead = unit
    redis.call('SET', KEYS[1], string.format('%.0f', now + unit), 'PX', ARGV[3])
end
if ahead > span then
    redis.call('DECRBY', KEYS[1], ARGV[4])
    return { 0, 0, ahead - span }
end
return { 1, math.floor((span - ahead) / unit), ahead }";

const SLIDING_INTEGER: &str = "
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if redis.call('GET', KEYS[2]) * 0.5 + used > tonumber(ARGV[2]) then return 0 end
return used";

const SLIDING: &str = "
local time = redis.call('TIME')
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
local elapsed, window = time[1] * 1000 % ARGV[3], ARGV[3] + 0
local free = ARGV[2] - used - redis.call('GET', KEYS[2]) * (1 - elapsed / window)
if free < 0 then return { 0, 0, window - elapsed } end
return { 1, free, window - elapsed }";

const LOG: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = ARGV[3] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used, quota = redis.call('ZCARD', KEYS[1]), tonumber(ARGV[2])
if used >= quota then
    local oldest = redis.call('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
    return { 0, 0, oldest[2] + window - now }
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 1, quota - used - 1, window }";

const THREE_UNDONE: &str = "
local denied = false
for at = 1, #KEYS do
    local used = redis.call('INCRBY', KEYS[at], ARGV[1])
    if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
    denied = denied or used > tonumber(ARGV[2])
end
if denied then
    for at = 1, #KEYS do redis.call('DECRBY', KEYS[at], ARGV[1]) end
    return 0
end
return 1";

const SEVERAL: &str = "
for at = 1, #KEYS do
    if (redis.call('GET', KEYS[at]) or 0) + ARGV[1] > tonumber(ARGV[2]) then return 0 end
end
for at = 1, #KEYS do
    local used = redis.call('INCRBY', KEYS[at], ARGV[1])
    if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[at], ARGV[3]) end
end
return 1";

const GCRA_USUAL: &str = "
local burst, rate, period, cost = tonumber(ARGV[2]), tonumber(ARGV[2]), ARGV[3] / 1000, tonumber(ARGV[1])
local unit = period / rate
local increment, offset = unit * cost, unit * burst
local time = redis.call('TIME')
local now = (time[1] - 1483228800) + time[2] / 1000000
local tat = redis.call('GET', KEYS[1])
tat = tat and tonumber(tat) or now
tat = math.max(tat, now)
local after = tat + increment
local ahead = now - (after - offset)
local remaining = ahead / unit
if remaining < 0 then
    return { 0, 0, tostring(-ahead), tostring(tat - now) }
end
local reset = after - now
if reset > 0 then
    redis.call('SET', KEYS[1], after, 'EX', math.ceil(reset))
end
return { cost, remaining, '-1', tostring(reset) }";
