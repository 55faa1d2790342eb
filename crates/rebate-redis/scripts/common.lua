-- What all parts of the library share.
--
-- A state is doubles, one after the other: times in microseconds since the epoch, whole numbers up to 2^53, and identities,
-- which are compared and never computed with (none is a NaN). ARCHITECTURE.md tells the state byte by byte. Offsets are
-- given to the server as text: it takes many times longer to write a number.
--
-- Every function reads all it needs before it writes anything: an error then leaves every key as it was.

-- While a library is loaded nothing of Lua's own can be reached; `clock`, which every function calls first, takes it then.
local call, try, protected, raise, type_of, table_unpack, pack, unpack, floor, ceil, min, max, fmod, sub, find, concat
local upper, lower
-- Marks that hold nothing.
local NO_MARKS

local function start()
    call, table_unpack, pack, unpack, sub = redis.call, _G.unpack, struct.pack, struct.unpack, string.sub
    find, concat, upper, lower = string.find, table.concat, string.upper, string.lower
    try, protected, raise, type_of = redis.pcall, _G.pcall, _G.error, _G.type
    floor, ceil, min, max, fmod = math.floor, math.ceil, math.min, math.max, math.fmod
    NO_MARKS = pack('<dd', 0, 0)
end

-- Units of one window instance are numbered up to here (MAX_UNIT in core).
local MAX_UNIT = 9007199254740992
-- Separate runs of refunded units, and topped-up receipts, that a count remembers (REMEMBERED in core).
local REMEMBERED = 128
-- No state's header is longer, in bytes.
local LONGEST_HEADER = 104
-- The identity of a bucket that was never charged.
local NO_INSTANCE = 0

-- Of this call: whether it may not write; and by key the reservations of those counts it met that have any, nil where none
-- has (reserved.lua).
local looks_only, reserved
-- A state without what is reserved of it, and what keeps that when the state was written (reserved.lua).
local without_reservations, keep_reserved

-- The server's time, or the caller's under test.
local function clock(given)
    if not call then
        start()
    end
    looks_only, reserved = nil, nil
    if not given or given == '' then
        local time = call('TIME')
        return time[1] * 1000000 + time[2]
    end
    return tonumber(given)
end

-- The letter of a state or an item, which tells its algorithm: the highest byte of its shape.
local function letter_of(state)
    return sub(state, 8, 8)
end

-- Whether something is reserved of a count with this state.
local function has_reservations(state)
    return sub(state, 8, 8) > 'Z'
end

-- A count's state at this moment; nil where this call may not write it.
local function state_of(key, now)
    local state = call('GET', key) or ''
    if has_reservations(state) then
        return without_reservations(key, state, now)
    end
    return state
end

-- Puts a count's state in. Without `keep` its expiry stays. With `keep`, microseconds from now, it is set anew; what lies
-- behind the header stays only where `extends` says so. `original` is a key that is too long for its name.
local function put(key, value, keep, extends, original)
    if not keep then
        call('SETRANGE', key, '0', value)
        return
    end
    keep = ceil(keep / 1000)
    if extends then
        call('SETRANGE', key, '0', value)
        call('PEXPIRE', key, keep)
    else
        call('SET', key, value, 'PX', keep)
    end
    if original then
        call('SET', key .. ':k', original, 'PX', keep)
    end
end

-- Forgets a count. On a cluster, while its slot moves, a key that is not there must not be touched: only names that hold a
-- digest have a long key beside them.
local function drop(key)
    call('DEL', key)
    if find(key, '~', 1, true) then
        call('DEL', key .. ':k')
    end
end
