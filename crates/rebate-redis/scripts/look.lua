-- Peeking, renewing, resetting.

local function views(keys, now, count)
    local answer = { now }
    for at = 1, count do
        local state = view(keys[at], now, 0, 1)
        if not state then
            return { now }
        end
        answer[at + 1] = state
    end
    return answer
end

-- keys: the counts, on a cluster then their helpers. arguments: time · number of counts. answer: now · each count's view; or
-- now alone, where something is to be given back first, for which there is the other function.
local function peek(keys, arguments)
    local now = clock(arguments[1])
    looks_only = true
    return views(keys, now, tonumber(arguments[2]))
end

local function peek_due(keys, arguments)
    local now = clock(arguments[1])
    return views(keys, now, tonumber(arguments[2]))
end

-- Who holds places.
--
-- keys: a count, on a cluster then its helpers. arguments: time. answer: nothing where it is none of leases; else instance, span ·
-- of each that has not ended its last unit, cost, end, units given back
local function leases(keys, arguments)
    local key, now = keys[1], clock(arguments[1])
    local state = call('GET', key) or ''
    if #state <= ENTRIES or letter_of(state) ~= 'C' then
        return {}
    end
    local _, identity, acted, used, _, _, _, partly, _, _, _, span = unpack('<dddddddddddd', state)
    if acted - now > span or not is_whole(key, used, partly) then
        return {}
    end
    local answer = { pack('<dd', identity, span) }
    local entries = call('ZRANGEBYSCORE', key .. ':e', max(now, acted) + 1, '+inf', 'WITHSCORES')
    for at = 1, #entries, 2 do
        local name = entries[at]
        local given_back = partly > 0 and tonumber(call('HGET', key .. ':p', name)) or 0
        answer[#answer + 1] = name .. pack('<dd', tonumber(entries[at + 1]), given_back)
    end
    return answer
end

-- Moves the ends of leases to a whole lease from now.
--
-- keys: a count for each part, on a cluster then their helpers. arguments: time · grace · for each part: instance · last · cost
-- answer: for each part its new end; 0 where it has ended; -1 where it is no lease
local function renew(keys, arguments)
    local now, grace = clock(arguments[1]), tonumber(arguments[2])
    local answer = {}
    for at = 1, #arguments - 2 do
        local key = keys[at]
        local instance, last, cost = unpack('<ddd', arguments[at + 2])
        local state = state_of(key, now)
        local letter, finish = letter_of(state), 0
        if letter == 'C' then
            local shape, identity, acted, used, gross, each, first, partly, wholly, kept, quota, span =
                unpack('<dddddddddddd', state)
            local name = pack('<dd', last, cost)
            local ends = identity == instance and acted - now <= span and is_whole(key, used, partly) and call('ZSCORE', key .. ':e', name)
            local time = max(now, acted)
            if ends and tonumber(ends) > time then
                finish = time + span
                if time >= first then
                    local units, ended
                    units, ended, first = ended_by(key, time, partly)
                    used, partly = used - units, drop_ended(key, ended, partly)
                end
                call('ZADD', key .. ':e', finish, name)
                local extends = finish >= kept
                if extends then
                    kept = finish + span
                end
                call('SETRANGE', key, '0', pack('<ddddddddddddd', shape, identity, time, used, gross, each,
                    min(first, finish), partly, wholly, kept, quota, span, finish))
                if extends then
                    local keep = kept - now + grace
                    call('PEXPIRE', key, ceil(keep / 1000))
                    if find(key, '~', 1, true) then
                        call('PEXPIRE', key .. ':k', ceil(keep / 1000))
                    end
                    extend(key, keep, partly, wholly)
                end
            end
        elseif letter ~= '' then
            finish = -1
        end
        answer[at] = finish
    end
    return answer
end

-- When the count says nothing any more.
local function expires_at(key, state)
    local letter = letter_of(state)
    if letter == 'A' or letter == 'D' or letter == 'F' then
        return (unpack('<d', state, 25))
    elseif letter == 'S' then
        local start, window = unpack('<d', state, 25), unpack('<d', state, 73)
        return start + 2 * window
    elseif letter == 'B' then
        local tat, fraction = unpack('<dd', state, 17)
        return fraction > 0 and tat + 1 or tat
    elseif letter == 'L' or letter == 'C' then
        local _, _, _, latest = look_at_entries(key, state, 0, 0, 1)
        return latest
    end
    return 0
end

-- Forgets a count. key: it. arguments: time. answer: 1 if there was one that said anything.
local function reset(keys, arguments)
    local key, now = keys[1], clock(arguments[1])
    local state = call('GET', key)
    if not state then
        return 0
    end
    -- Where what is beside the count cannot be read, being of a foreign type, forgetting it all the same is the way out.
    local is_read, ends = protected(function()
        return expires_at(key, state_of(key, now))
    end)
    local said, letter = not is_read or ends > now, upper(letter_of(state))
    drop(key)
    if letter == 'L' or letter == 'C' then
        call('DEL', key .. ':e', key .. ':p', key .. ':f')
    end
    return said and 1 or 0
end

-- Writes down a limit for operators. key: where. arguments: name · policy · for how long at least, in milliseconds.
local function write_limit(keys, arguments)
    clock('0')
    call('HSET', keys[1], arguments[1], arguments[2])
    local keep = tonumber(arguments[3])
    if call('PTTL', keys[1]) < keep then
        call('PEXPIRE', keys[1], keep)
    end
    return 1
end
