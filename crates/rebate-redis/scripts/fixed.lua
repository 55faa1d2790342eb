-- Fixed windows (core: algorithm/fixed.rs). Letters A (aligned), D (calendar), F (from the first charge).
--
-- state: shape · instance · start · end · gross · refunded · quota · charged at   [marks]
-- item:  shape · quota · cost · fresh · grace · span (negative: from the first charge) · number of bounds
--        [bounds of calendar windows] [long key]
--
-- What most charges need stands first, here and in every other state and item: each number read takes its time.

local FIXED = 63

-- The calendar window that holds `now`, among the bounds the client sent.
local function calendar_window(item, bounds, now)
    local start = unpack('<d', item, 57)
    for at = 1, bounds - 1 do
        local finish = unpack('<d', item, 57 + 8 * at)
        if start <= now and now < finish then
            return start, finish
        end
        start = finish
    end
end

-- Decides a charge. Answers the new state, for how long to keep it if its expiry changes, and the long key; or nil and
-- the state that denies it; or nil and nil when the bounds do not reach to the server's time. `held`: the state, where it has
-- been read already.
local function charge_fixed(key, item, now, given, held)
    local shape, quota, cost = unpack('<ddd', item)
    cost = given or cost
    local old = held or call('GET', key) or ''
    local was, instance, start, finish, gross, refunded
    local opens = true
    if #old > FIXED then
        was, instance, start, finish, gross, refunded = unpack('<dddddd', old)
        if was == shape then
            opens = now >= finish or (now < start and start - now > finish - start)
        elseif has_reservations(old) then
            return charge_fixed(key, item, now, given, without_reservations(key, old, now))
        else
            old = ''
        end
    else
        old = ''
    end
    if opens then
        local fresh, _, span, bounds = unpack('<dddd', item, 25)
        instance, gross, refunded = fresh, 0, 0
        if span > 0 then
            start = now - now % span
            finish = start + span
        elseif span < 0 then
            start, finish = now, now - span
        else
            start, finish = calendar_window(item, bounds, now)
            if not start then
                return nil, nil
            end
        end
    end
    local used = gross - refunded
    if cost > quota - used then
        return nil, old
    end
    if gross > MAX_UNIT - cost then
        instance, gross, refunded, opens = unpack('<d', item, 25), used, 0, true
    end
    local state = pack('<dddddddd', shape, instance, start, finish, gross + cost, refunded, quota, now)
    if not opens then
        return state
    end
    local _, grace, _, bounds = unpack('<dddd', item, 25)
    local base = 56 + 8 * bounds
    return state, finish - now + grace, false, #item > base and sub(item, base + 1)
end
