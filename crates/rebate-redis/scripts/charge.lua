-- Charging one limit, or several all or nothing (core: engine/charge.rs).

-- An item's quota and cost.
local function quota_and_cost(item)
    return unpack('<dd', item, 9)
end

-- The answer to a lone charge that is denied: the time, made negative so that no state begins like it, and the state. One
-- text costs the server less than an array.
local function denied_by(now, state)
    return pack('<d', -1 - now) .. state
end

-- One function for each algorithm, so that the charge of one limit goes the shortest way.
-- key: the count. arguments: the item · time, under test only
-- answer: the new state, which tells its time; or as `denied_by`; or, where the item's calendar bounds do not reach to the
-- server's time, that in an array
local function charge_one(decide)
    return function(keys, arguments)
        local key, now = keys[1], clock(arguments[2])
        local state, keep, extends, original = decide(key, arguments[1], now)
        if not state then
            return keep and denied_by(now, keep) or { now }
        end
        if keep then
            put(key, state, keep, extends, original)
        else
            call('SETRANGE', key, '0', state)
        end
        if reserved then
            keep_reserved()
        end
        return state
    end
end

-- The same for logs and leases. A new state that tells another time than the clock's has the clock's behind it, and one that
-- denies has what `look_at_entries` says.
local function charge_one_entry(keys, arguments)
    local key, item, now = keys[1], arguments[1], clock(arguments[2])
    local shape, quota, cost, span, identity, time, used, gross, each, first, partly, wholly, kept, ended, opens =
        plan_entry(key, item, now)
    if shape then
        local state = enter_entry(key, item, now, shape, quota, cost, span, identity, time, used, gross, each, first, partly,
            wholly, kept, ended, opens)
        if reserved then
            keep_reserved()
        end
        return time == now and state or state .. pack('<d', now)
    end
    local old, whole, next_end = quota, cost, span
    if #old <= ENTRIES then
        return denied_by(now, '')
    end
    quota, cost = quota_and_cost(item)
    return denied_by(now, old .. pack('<dddd', look_at_entries(key, old, now, quota, cost, whole, next_end)))
end

local decide_by = {
    A = charge_fixed, D = charge_fixed, F = charge_fixed, S = charge_sliding, B = charge_bucket,
}

-- Decides the charges of the first `count` of `items` on `keys` (each of its cost, or of `costs`). Answers, where all fit, what `enter_all`
-- needs: the new states, how to keep those whose expiry changes, and the plans of entries. Else nil and whether the bounds of
-- a calendar window do not reach.
local function decide_all(keys, items, count, costs, now)
    -- With room for most: to let a table grow takes longer than to make it.
    local states, keeps, plans = { '', '', '', '' }, nil, nil
    for at = 1, count do
        local item = items[at]
        local decide = decide_by[sub(item, 8, 8)]
        if decide then
            local state, keep, extends, original = decide(keys[at], item, now, costs and costs[at])
            if not state then
                return nil, not keep
            end
            states[at] = state
            if keep then
                keeps = keeps or {}
                keeps[at] = { keep, extends, original }
            end
        else
            local plan = { plan_entry(keys[at], item, now, costs and costs[at]) }
            if not plan[1] then
                return nil, false
            end
            plans = plans or {}
            plans[at] = plan
        end
    end
    return states, keeps, plans
end

-- Enters the charges that were decided, and completes their states.
local function enter_all(keys, items, count, states, keeps, plans, now)
    for at = 1, count do
        local keep, plan = keeps and keeps[at], plans and plans[at]
        if plan then
            states[at] = enter_entry(keys[at], items[at], now, table_unpack(plan, 1, 15))
        elseif keep then
            put(keys[at], states[at], keep[1], keep[2], keep[3])
        else
            call('SETRANGE', keys[at], '0', states[at])
        end
    end
    if reserved then
        keep_reserved()
    end
end

-- The unit that an admitted charge's last one is numbered, by its new state, and its window's instance.
local function granted(state)
    local instance, last = unpack('<d', state, 9), unpack('<d', state, 33)
    return instance, last
end

-- The receipt of a charge that an idempotency key has billed: charged at · for each part the number of its item, cost,
-- instance, last, given back; nothing when it was another charge.
local function replayed(note, keys, items, count)
    local numbers, parts = {}, note[3]
    if #parts ~= count then
        return nil
    end
    for at = 1, count do
        numbers[keys[at]] = at
    end
    local answer = { note[2] }
    for at = 1, #parts do
        local key, cost, instance, last, refunded = table_unpack(parts[at], 1, 5)
        local number = numbers[key]
        local _, asked
        if number then
            _, asked = quota_and_cost(items[number])
        end
        if asked ~= cost then
            return nil
        end
        answer[at + 1] = pack('<dd', number, cost) .. instance .. pack('<dd', last, refunded)
    end
    return answer
end

-- Charges the first `count` of `items`, or none. Answers the new states; or nil and what the caller is told.
local function charge_all(keys, items, count, now)
    local states, keeps, plans = decide_all(keys, items, count, nil, now)
    if states then
        enter_all(keys, items, count, states, keeps, plans, now)
        return states
    end
    local out_of_bounds = keeps
    if out_of_bounds then
        return nil, { now, 'B' }
    end
    local answer = { now, 'D' }
    for at = 1, count do
        answer[at + 2] = view(keys[at], now, quota_and_cost(items[at]))
    end
    return nil, answer
end

-- The answer to a charge that was admitted: one text costs the server less than an array.
local function admitted(states, count, now)
    for at = 1, count do
        if #states[at] > LONGEST_HEADER then
            -- Only a sliding counter's has anything behind its header.
            states[at] = sub(states[at], 1, SLIDING + 1)
        end
    end
    states[count + 1] = pack('<d', now)
    return concat(states, '', 1, count + 1)
end

-- Two items, charged or not, without the tables that more of them take. Answers nothing where they are not both admitted,
-- or one of them is of entries: nothing has been changed then.
local function charge_pair(keys, items, now)
    local one, other = decide_by[sub(items[1], 8, 8)], decide_by[sub(items[2], 8, 8)]
    if not one or not other then
        return nil
    end
    local first, keep, extends, original = one(keys[1], items[1], now)
    if not first then
        return nil
    end
    local second, keeps, extended, long = other(keys[2], items[2], now)
    if not second then
        return nil
    end
    put(keys[1], first, keep, extends, original)
    put(keys[2], second, keeps, extended, long)
    if reserved then
        keep_reserved()
    end
    if #first > LONGEST_HEADER then
        first = sub(first, 1, SLIDING + 1)
    end
    if #second > LONGEST_HEADER then
        second = sub(second, 1, SLIDING + 1)
    end
    return first .. second .. pack('<d', now)
end

-- Charges every item or none.
--
-- keys: a count for each item, on a cluster then their helpers. arguments: the items · time
-- answer: the states without their marks, and the time, as one text; now · 'D' · each count's view; now · 'B': bounds do not
-- reach
local function charge_several(keys, arguments)
    local count = #arguments - 1
    local now = clock(arguments[count + 1])
    if count == 2 then
        local answer = charge_pair(keys, arguments, now)
        if answer then
            return answer
        end
    end
    local states, answer = charge_all(keys, arguments, count, now)
    return states and admitted(states, count, now) or answer
end

-- What is answered where the idempotency key has billed a charge already: this one, or another.
local function answer_of_note(note_key, own_call, keys, items, count, now)
    local bytes = call('GET', note_key)
    local note = bytes and cmsgpack.unpack(bytes)
    if not note or now >= note[1] or (note[5] and now >= note[5]) then
        return nil
    end
    local replay = replayed(note, keys, items, count)
    if not replay then
        return { now, 'X' }
    end
    local answer = { now, note[4] == own_call and 'O' or 'R' }
    for at = 1, #replay do
        answer[at + 2] = replay[at]
    end
    for at = 1, count do
        answer[#answer + 1] = view(keys[at], now, 0, 1)
    end
    return answer
end

-- Notes the charge that an idempotency key has billed, and until when it is reserved, if it is. `told`: the note's lifetime and
-- grace, and 8 bytes that no other call has.
local function bill(note_key, told, keys, items, states, count, now, reserved_until)
    local lifetime, grace = unpack('<dd', told)
    local parts = {}
    for at = 1, count do
        local _, cost = quota_and_cost(items[at])
        local instance, last = granted(states[at])
        parts[at] = { keys[at], cost, pack('<d', instance), last, 0, letter_of(states[at]) == 'C' or nil }
    end
    local note = cmsgpack.pack({ now + lifetime, now, parts, sub(told, 17, 24), reserved_until })
    call('SET', note_key, note, 'PX', ceil((lifetime + grace) / 1000))
end

-- The same under an idempotency key.
--
-- keys: a count for each item · the note of the idempotency key · on a cluster the counts' helpers
-- arguments: the items · the note's lifetime and grace, and 8 bytes that no other call has · time
-- answer: as above; or now · 'R' (or 'O' where this very call was sent before and charged) · charged at · the parts · each
-- count's view; now · 'X': the key has billed another charge
local function charge_once(keys, arguments)
    local count = #arguments - 2
    local now, note_key, told = clock(arguments[count + 2]), keys[count + 1], arguments[count + 1]
    local replay = answer_of_note(note_key, sub(told, 17, 24), keys, arguments, count, now)
    if replay then
        return replay
    end
    local states, answer = charge_all(keys, arguments, count, now)
    if not states then
        return answer
    end
    bill(note_key, told, keys, arguments, states, count, now)
    return admitted(states, count, now)
end

-- The same for a charge that is given back unless it is settled in time; with an idempotency key or without.
--
-- keys: as above, or without a note. arguments: the items · of the note as above, or '' · within which time, in microseconds
-- · time
-- answer: as above
local function reserve(keys, arguments)
    local count = #arguments - 3
    local now, note_key, told = clock(arguments[count + 3]), keys[count + 1], arguments[count + 1]
    local replay = told ~= '' and answer_of_note(note_key, sub(told, 17, 24), keys, arguments, count, now)
    if replay then
        return replay
    end
    local states, answer = charge_all(keys, arguments, count, now)
    if not states then
        return answer
    end
    local finish = now + tonumber(arguments[count + 2])
    for at = 1, count do
        if may_count_at(states[at], finish) then
            local _, cost = quota_and_cost(arguments[at])
            local instance, last = granted(states[at])
            reserve_units(keys[at], finish, instance, last, cost)
        end
    end
    if told ~= '' then
        bill(note_key, told, keys, arguments, states, count, now, finish)
    end
    return admitted(states, count, now)
end
