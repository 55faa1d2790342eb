-- Charging one limit, or several all or nothing (core: engine/charge.rs).

-- One function for each algorithm, so that the charge of one limit goes the shortest way.
-- key: the count. arguments: the item · time
-- answer: the new state, which tells its time; or time and the state that denies it (none: the item's calendar bounds do
-- not reach to that time)
local function charge_one(decide)
    return function(keys, arguments)
        local key, now = keys[1], clock(arguments[2])
        local state, keep, extends, original = decide(key, arguments[1], now)
        if state then
            put(key, state, keep, extends, original)
            return state
        end
        return { now, keep or false }
    end
end

-- Answers what was entered, with the time behind it; or the time and what `look_at_entries` says of the state that denies.
local function enter_or_tell(key, item, now, shape, ...)
    if shape then
        return enter_entry(key, shape, ...) .. pack('<d', now)
    end
    local old = ...
    if #old <= ENTRIES then
        return { now, '' }
    end
    return { now, sub(old, 1, ENTRIES + 1) .. pack('<dddd', look_at_entries(key, old, now, unpack('<dd', item, 17))) }
end

-- The same for logs and leases.
local function charge_one_entry(keys, arguments)
    local key, item, now = keys[1], arguments[1], clock(arguments[2])
    return enter_or_tell(key, item, now, plan_entry(key, item, now))
end

local decide_by = {
    A = charge_fixed, D = charge_fixed, F = charge_fixed, S = charge_sliding, B = charge_bucket,
}

-- An item's quota and cost.
local function quota_and_cost(item)
    return unpack('<dd', item, 17)
end

-- Decides the charges of `items` on `keys` (each of its cost, or of `costs`). Answers, where all fit, what `enter_all`
-- needs; else nil and whether the bounds of a calendar window do not reach.
local function decide_all(keys, items, costs, now)
    local plans, denied, out_of_bounds = {}, false, false
    for at = 1, #items do
        local item = items[at]
        local decide, plan = decide_by[letter_of(item)], nil
        if decide then
            local state, keep, extends, original = decide(keys[at], item, now, costs and costs[at])
            if state then
                plan = { state, keep, extends, original }
            elseif not keep then
                out_of_bounds = true
            end
        else
            plan = { plan_entry(keys[at], item, now, costs and costs[at]) }
            plan = plan[1] and plan
        end
        plans[at] = plan or false
        denied = denied or not plan
    end
    if denied then
        return nil, out_of_bounds
    end
    return plans
end

-- Enters the charges that were decided; answers the new states.
local function enter_all(keys, items, plans)
    local states = {}
    for at = 1, #items do
        local plan = plans[at]
        if decide_by[letter_of(items[at])] then
            put(keys[at], plan[1], plan[2], plan[3], plan[4])
            states[at] = plan[1]
        else
            states[at] = enter_entry(keys[at], table_unpack(plan, 1, 18))
        end
    end
    return states
end

-- The unit that an admitted charge's last one is numbered, by its new state, and its window's instance.
local function granted(state)
    local letter = letter_of(state)
    local instance, last = unpack('<d', state, 9), nil
    if letter == 'S' then
        last = unpack('<d', state, 49)
    elseif letter == 'B' then
        last = unpack('<d', state, 57)
    else
        last = unpack('<d', state, 41)
    end
    return instance, last
end

-- The receipt of a charge that an idempotency key has billed: charged at · for each part the number of its item, cost,
-- instance, last, given back; nothing when it was another charge.
local function replayed(note, keys, items)
    local numbers, parts = {}, note[3]
    if #parts ~= #items then
        return nil
    end
    for at = 1, #items do
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

-- Charges every item or none.
--
-- keys: a count for each item, then the note of the idempotency key if there is one.
-- arguments: time · the idempotency key's lifetime and grace, and 8 bytes that no other call has ('' without one) · the items
-- answer: now · 'A' · the states; now · 'D' · each count's view; now · 'B': bounds do not reach; now · 'R' (or 'O' where
-- this very call was sent before and charged) · charged at · the parts · each count's view; now · 'X': the key has billed another charge
local function charge_several(keys, arguments)
    local now, once = clock(arguments[1]), arguments[2]
    local items, note_key = {}, nil
    for at = 3, #arguments do
        items[at - 2] = arguments[at]
    end
    local answer = { now }
    if once ~= '' then
        note_key = keys[#items + 1]
        local bytes = call('GET', note_key)
        local note = bytes and cmsgpack.unpack(bytes)
        if note and now < note[1] then
            local replay = replayed(note, keys, items)
            if not replay then
                return { now, 'X' }
            end
            answer[2] = note[4] == sub(once, 17, 24) and 'O' or 'R'
            for at = 1, #replay do
                answer[at + 2] = replay[at]
            end
            for at = 1, #items do
                answer[#answer + 1] = view(keys[at], now, 0, 1)
            end
            return answer
        end
    end
    local plans, out_of_bounds = decide_all(keys, items, nil, now)
    if out_of_bounds then
        return { now, 'B' }
    end
    if not plans then
        answer[2] = 'D'
        for at = 1, #items do
            answer[at + 2] = view(keys[at], now, quota_and_cost(items[at]))
        end
        return answer
    end
    local states = enter_all(keys, items, plans)
    answer[2] = 'A'
    for at = 1, #items do
        answer[at + 2] = states[at]
    end
    if note_key then
        local lifetime, grace = unpack('<dd', once)
        local parts = {}
        for at = 1, #items do
            local _, cost = quota_and_cost(items[at])
            local instance, last = granted(states[at])
            parts[at] = { keys[at], cost, pack('<d', instance), last, 0 }
        end
        local note = cmsgpack.pack({ now + lifetime, now, parts, sub(once, 17, 24) })
        call('SET', note_key, note, 'PX', ceil((lifetime + grace) / 1000))
    end
    return answer
end
