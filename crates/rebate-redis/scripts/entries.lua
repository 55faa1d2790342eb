-- The sliding window log and leases (core: algorithm/entries.rs). Letters L and C.
--
-- state: shape · identity · acted · used · gross · each · first · entries refunded in part · entries refunded whole
--        · kept until · quota · span · last
-- `each` is what every entry costs; 0 where they differ. `first` is no later than any entry's end: until then nothing has
-- ended. `last` is the end of the last entry that counts; 0 when that was refunded and none was charged since.
-- Beside it: `:e`, a sorted set of the entries that count, by their ends; `:p`, of those refunded in part how much;
-- `:f`, a sorted set of those refunded whole: their names by their ends, and names and an `l` by their last units, made
-- negative. On a cluster they are named among the keys, so that a slot under way is answered
-- with TRYAGAIN and not by half of the state. An entry is named by its last unit and its cost, two doubles.
-- item:  shape · quota · cost · span · fresh · grace   [long key]

local ENTRIES = 103
local NO_END = 2 ^ 62
-- In the place of a number of ended entries: they are found by their time when they are dropped.
local BY_TIME = -1

-- Whether what a count says of its entries is still beside it: a server that evicts takes one key and leaves another. A
-- count of which a part is gone is gone: what is left of it would count for ever, or not at all. Asked before anything is
-- written, so that a key of a foreign type is an error by then too.
local function is_whole(key, used, partly)
    local entries = call('ZCARD', key .. ':e')
    return (used == 0 or entries > 0) and (partly == 0 or call('HLEN', key .. ':p') == partly)
end

-- The cost of the entry with this name, less what was refunded of it.
local function counting(key, name, partly)
    local _, cost = unpack('<dd', name)
    if partly > 0 then
        return cost - (tonumber(call('HGET', key .. ':p', name)) or 0)
    end
    return cost
end

-- What of the entries that have ended by `time` still counts among the units in use; how many they are; and the end of
-- the first one that has not.
local function ended_by(key, time, partly)
    local units, ended, page = 0, 0, 1
    local entries = call('ZRANGE', key .. ':e', '0', '1', 'WITHSCORES')
    while true do
        for at = 1, #entries, 2 do
            local finish = tonumber(entries[at + 1])
            if finish > time then
                return units, ended, finish
            end
            units, ended = units + counting(key, entries[at], partly), ended + 1
        end
        if #entries <= 2 * page then
            return units, ended, NO_END
        end
        page = 255
        entries = call('ZRANGE', key .. ':e', ended, ended + page, 'WITHSCORES')
    end
end

-- The units in use less those that have ended by `time`; how many entries those are; and the end of the first that has not.
local function subtract_ended(key, time, used, partly)
    local units, ended, first = ended_by(key, time, partly)
    return used - units, ended, first
end

-- Drops the entries that have ended, the first `ended` of them. Answers the entries refunded in part that are left.
local function drop_ended(key, ended, partly)
    if ended == 0 then
        return partly
    end
    if partly > 0 then
        for from = 0, ended - 1, 256 do
            local names = call('ZRANGE', key .. ':e', from, min(from + 255, ended - 1))
            partly = partly - call('HDEL', key .. ':p', table_unpack(names))
        end
    end
    call('ZREMRANGEBYRANK', key .. ':e', '0', ended == 1 and '0' or ended - 1)
    return partly
end

-- Numbers the units in use from 1. Answers the last number.
local function renumber(key)
    local entries = call('ZRANGE', key .. ':e', '0', '-1', 'WITHSCORES')
    local units, gross, left = {}, 0, call('PTTL', key)
    for at = 1, #entries, 2 do
        units[at] = counting(key, entries[at], 1)
    end
    call('DEL', key .. ':e', key .. ':p', key .. ':f')
    for at = 1, #entries, 2 do
        gross = gross + units[at]
        call('ZADD', key .. ':e', entries[at + 1], pack('<dd', gross, units[at]))
    end
    call('PEXPIRE', key .. ':e', left)
    return gross
end

-- The helpers of a count live as long as it does.
local function extend(key, keep, partly, wholly)
    keep = ceil(keep / 1000)
    call('PEXPIRE', key .. ':e', keep)
    if partly > 0 then
        call('PEXPIRE', key .. ':p', keep)
    end
    if wholly > 0 then
        call('PEXPIRE', key .. ':f', keep)
    end
end

-- Decides a charge without changing anything. Answers what `enter_entry` takes besides key, item and time; or nil, the state
-- that denies it, whether that is known to be whole, and the end of its first entry, where that is known and has not come.
local function plan_entry(key, item, now, given, held)
    local shape, quota, cost, span = unpack('<dddd', item)
    cost = given or cost
    local old = held or call('GET', key) or ''
    local was, identity, acted, used, gross, each, first, partly, wholly, kept
    local time, opens = now, true
    if #old > ENTRIES then
        was, identity, acted, used, gross, each, first, partly, wholly, kept = unpack('<dddddddddd', old)
        if was ~= shape and has_reservations(old) then
            return plan_entry(key, item, now, given, without_reservations(key, old, now))
        elseif was == shape and acted - now <= span and is_whole(key, used, partly) then
            opens = false
            if acted > now then
                time = acted
            end
        end
    end
    local ended, next_end = 0, nil
    if opens then
        identity, used, gross, each, first = unpack('<d', item, 33), 0, 0, 0, NO_END
        partly, wholly, kept = 0, 0, 0
    elseif time >= first then
        local fits = each > 0 and partly == 0
        if fits and cost > quota - used then
            -- Does it fit once the first entry has ended, and has that?
            local entry = call('ZRANGE', key .. ':e', '0', '0', 'WITHSCORES')
            next_end = tonumber(entry[2])
            fits = next_end and (next_end > time or cost <= quota - used + each)
        end
        if not fits then
            used, ended, first, next_end = subtract_ended(key, time, used, partly)
        elseif not next_end or next_end <= time then
            -- Whatever else has ended, it fits.
            ended, next_end = BY_TIME, nil
        end
    end
    if ended ~= BY_TIME and cost > quota - used then
        return nil, old, not opens, next_end
    end
    return shape, quota, cost, span, identity, time, used, gross, each, first, partly, wholly, kept, ended, opens
end

-- Enters the charge that was planned; answers the new state.
local function enter_entry(key, item, now, shape, quota, cost, span, identity, time, used, gross, each, first, partly, wholly,
    kept, ended, opens)
    local entries = key .. ':e'
    if opens then
        -- Also where the count is absent: it may have been evicted, or have expired a moment before what is beside it.
        call('DEL', entries, key .. ':p', key .. ':f')
    end
    if ended == BY_TIME then
        used, first = used - each * call('ZREMRANGEBYSCORE', entries, '-inf', time), time + 1
    elseif ended > 0 then
        partly = drop_ended(key, ended, partly)
    end
    if gross > MAX_UNIT - cost then
        gross = renumber(key)
        identity, each, partly, wholly = unpack('<d', item, 33), 0, 0, 0
    end
    if used == 0 then
        each = cost
    elseif each ~= cost then
        each = 0
    end
    gross = gross + cost
    local finish = time + span
    call('ZADD', entries, finish, pack('<dd', gross, cost))
    local extends = finish >= kept
    if extends then
        -- Kept for a span more than is needed, so that not every charge need extend it.
        kept = finish + span
    end
    if finish < first then
        first = finish
    end
    -- No entry ends later than the newest: none was ever given more than a span from its time.
    local state = pack('<ddddddddddddd', shape, identity, time, used + cost, gross, each, first, partly, wholly, kept, quota,
        span, finish)
    if extends then
        local keep = kept - now + unpack('<d', item, 41)
        put(key, state, keep, not opens, #item > 48 and sub(item, 49))
        extend(key, keep, partly, wholly)
    else
        call('SETRANGE', key, '0', state)
        if used == 0 then
            -- The sorted set was empty, and is new.
            call('PEXPIRE', entries, call('PTTL', key))
        end
    end
    return state
end

-- What the count's status is told by: units in use at its time · the end of the last entry that counts · the end at which
-- `cost` more units fit (0: they fit now, or never will) · when the count says nothing any more. `whole`:
-- that nothing is missing beside it is known. `next_end`: the first entry's end, where that is known and has not come.
local function look_at_entries(key, state, now, quota, cost, whole, next_end)
    local _, _, acted, used, _, each, first, partly, wholly, _, _, span, reset = unpack('<ddddddddddddd', state)
    if not whole and not is_whole(key, used, partly) then
        return 0, 0, 0, 0
    end
    if reset == 0 then
        local last = call('ZREVRANGE', key .. ':e', '0', '0', 'WITHSCORES')
        reset = tonumber(last[2]) or 0
    end
    local latest = reset
    if wholly > 0 then
        latest = max(latest, tonumber(call('ZREVRANGE', key .. ':f', '0', '0', 'WITHSCORES')[2]) or 0)
    end
    if acted - now > span then
        return 0, 0, 0, latest
    end
    local time, rank, page = max(now, acted), 0, 1
    if reset <= time then
        reset = 0
    end
    if time >= first and not next_end then
        used, rank = subtract_ended(key, time, used, partly)
    end
    if cost > quota or cost <= quota - used then
        return used, reset, 0, latest
    end
    if each > 0 and partly == 0 then
        -- So many must end, of which the last is the one to wait for.
        local ends = ceil((cost - (quota - used)) / each)
        if not next_end or ends > 1 then
            local at = rank + ends - 1
            at = at == 0 and '0' or at
            next_end = tonumber(call('ZRANGE', key .. ':e', at, at, 'WITHSCORES')[2])
        end
        return used, reset, next_end or 0, latest
    end
    local left = used
    local names = call('ZRANGE', key .. ':e', rank == 0 and '0' or rank, rank == 0 and '1' or rank + 1, 'WITHSCORES')
    while true do
        for at = 1, #names, 2 do
            left = left - counting(key, names[at], partly)
            if cost <= quota - left then
                return used, reset, tonumber(names[at + 1]), latest
            end
        end
        if #names <= 2 * page then
            return used, reset, 0, latest
        end
        rank, page = rank + page + 1, 255
        names = call('ZRANGE', key .. ':e', rank, rank + page, 'WITHSCORES')
    end
end
