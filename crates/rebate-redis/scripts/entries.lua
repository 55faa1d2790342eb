-- The sliding window log and leases (core: algorithm/entries.rs). Letters L and C.
--
-- state: c8 shape · c8 identity · quota · span · acted · gross · used · first · kept until · entries refunded in part
--        · entries refunded whole
-- `first` is no later than any entry's end: until then nothing has ended.
-- Beside it: `:e`, a sorted set of the entries that count, by their ends; `:p`, of those refunded in part how much;
-- `:f`, the ends of those refunded whole. An entry is named by its last unit and its cost, two doubles.
-- item:  c8 shape · c8 fresh · quota · cost · span · grace   [long key]

local ENTRIES = 87
local NO_END = 2 ^ 62

-- What of the entries with these names still counts.
local function counting(key, names, partly)
    local units = 0
    for at = 1, #names do
        local _, cost = unpack('<dd', names[at])
        units = units + cost
    end
    if partly > 0 and #names > 0 then
        for from = 1, #names, 1000 do
            local refunded = call('HMGET', key .. ':p', table_unpack(names, from, min(from + 999, #names)))
            for at = 1, #refunded do
                units = units - (tonumber(refunded[at]) or 0)
            end
        end
    end
    return units
end

-- Drops what has ended by `time`. Answers the units in use and entries refunded in part that are left.
local function drop_ended(key, time, used, partly)
    local ended = call('ZRANGEBYSCORE', key .. ':e', '-inf', time)
    if #ended == 0 then
        return used, partly
    end
    used = used - counting(key, ended, partly)
    call('ZREMRANGEBYSCORE', key .. ':e', '-inf', time)
    if partly > 0 then
        for from = 1, #ended, 1000 do
            partly = partly - call('HDEL', key .. ':p', table_unpack(ended, from, min(from + 999, #ended)))
        end
    end
    return used, partly
end

-- The end of the entry that ends first, if there is one.
local function first_end(key)
    local first = call('ZRANGE', key .. ':e', 0, 0, 'WITHSCORES')
    return first[2] and tonumber(first[2])
end

-- Numbers the units in use from 1. Answers the last number.
local function renumber(key, time)
    local entries = call('ZRANGEBYSCORE', key .. ':e', '(' .. string.format('%.0f', time), '+inf', 'WITHSCORES')
    local refunded, gross = {}, 0
    for at = 1, #entries, 2 do
        refunded[at] = tonumber(call('HGET', key .. ':p', entries[at])) or 0
    end
    local left = call('PTTL', key)
    call('DEL', key .. ':e', key .. ':p', key .. ':f')
    for at = 1, #entries, 2 do
        local _, cost = unpack('<dd', entries[at])
        cost = cost - refunded[at]
        gross = gross + cost
        call('ZADD', key .. ':e', entries[at + 1], pack('<dd', gross, cost))
    end
    call('PEXPIRE', key .. ':e', left)
    return gross
end

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

-- Decides a charge without changing anything. Answers a table of what `enter_entry` needs; or nil and the state that
-- denies it.
local function plan_entry(key, item, now, given)
    local shape, fresh, quota, cost, span, grace = unpack('<c8c8dddd', item)
    cost = given or cost
    local old = call('GETRANGE', key, 0, ENTRIES)
    local identity, gross, used, first, kept, partly, wholly, acted, _
    local time, opens = now, true
    if #old > ENTRIES then
        local was
        was, identity, _, _, acted, gross, used, first, kept, partly, wholly = unpack('<c8c8ddddddddd', old)
        if was == shape and acted - now <= span then
            opens = false
            time = max(now, acted)
        end
    end
    if opens then
        identity, gross, used, first, kept, partly, wholly = fresh, 0, 0, NO_END, 0, 0, 0
    end
    local counts = used
    if time >= first then
        counts = used - counting(key, call('ZRANGEBYSCORE', key .. ':e', '-inf', time), partly)
    end
    if cost > quota - counts then
        return nil, old
    end
    return {
        shape, fresh, identity, quota, span, cost, time, gross, used, first, kept, partly, wholly, opens, #old > 0, grace,
        #item > 48 and sub(item, 49), now,
    }
end

-- Enters the charge that was planned; answers the new state.
local function enter_entry(key, plan)
    local shape, fresh, identity, quota, span, cost, time, gross, used, first, kept, partly, wholly, opens, was_there, grace,
        original, now = table_unpack(plan, 1, 18)
    local entries = key .. ':e'
    if opens and was_there then
        call('DEL', entries, key .. ':p', key .. ':f')
    end
    if time >= first then
        used, partly = drop_ended(key, time, used, partly)
        first = first_end(key) or NO_END
    end
    if gross > MAX_UNIT - cost then
        gross = renumber(key, time)
        identity, partly, wholly = fresh, 0, 0
    end
    gross = gross + cost
    local finish = time + span
    call('ZADD', entries, finish, pack('<dd', gross, cost))
    local extends = finish >= kept
    if extends then
        kept = finish + span
    end
    local state = pack('<c8c8ddddddddd', shape, identity, quota, span, time, gross, used + cost, min(first, finish), kept,
        partly, wholly)
    if extends then
        local keep = kept - now + grace
        put(key, state, keep, false, original)
        extend(key, keep, partly, wholly)
    else
        call('SETRANGE', key, 0, state)
        if used == 0 then
            -- The sorted set may have been emptied, and is new then.
            call('PEXPIRE', entries, call('PTTL', key))
        end
    end
    return state
end

-- What the count's status is told by: units in use at its time, the end of the last entry that counts, and the end at
-- which `cost` more units fit (0: they fit now, or never will).
local function look_at_entries(key, state, now, quota, cost)
    local _, _, _, span, acted, _, used, _, _, partly = unpack('<c8c8dddddddd', state)
    if acted - now > span then
        return 0, 0, 0
    end
    local time = max(now, acted)
    local entries = key .. ':e'
    used = used - counting(key, call('ZRANGEBYSCORE', entries, '-inf', time), partly)
    local last = call('ZREVRANGE', entries, 0, 0, 'WITHSCORES')
    local reset = tonumber(last[2]) or 0
    if reset <= time then
        reset = 0
    end
    if cost > quota or cost <= quota - used then
        return used, reset, 0
    end
    local left, from, after = used, 0, '(' .. string.format('%.0f', time)
    while true do
        local page = call('ZRANGEBYSCORE', entries, after, '+inf', 'WITHSCORES', 'LIMIT', from, 64)
        if #page == 0 then
            return used, reset, 0
        end
        for at = 1, #page, 2 do
            left = left - counting(key, { page[at] }, partly)
            if cost <= quota - left then
                return used, reset, tonumber(page[at + 1])
            end
        end
        from = from + 64
    end
end
