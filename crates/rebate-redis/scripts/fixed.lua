-- Fixed windows (core: algorithm/fixed.rs). Letters A (aligned), D (calendar), F (from the first charge).
--
-- state: shape · instance · quota · start · end · gross · refunded · charged at   [marks]
-- item:  shape · fresh · quota · cost · span (negative: from the first charge) · grace · number of bounds
--        [bounds of calendar windows] [long key]

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
-- the state that denies it; or nil and nil when the bounds do not reach to the server's time.
local function charge_fixed(key, item, now, given)
    local shape, fresh, quota, cost, span, grace, bounds = unpack('<ddddddd', item)
    cost = given or cost
    local old = call('GET', key) or ''
    local instance, start, finish, gross, refunded, _
    local opens = true
    if #old > FIXED then
        local was
        was, instance, _, start, finish, gross, refunded = unpack('<ddddddd', old)
        if was == shape then
            opens = now >= finish or (now < start and start - now > finish - start)
        else
            old = ''
        end
    else
        old = ''
    end
    if opens then
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
        instance, gross, refunded, opens = fresh, used, 0, true
    end
    local state = pack('<dddddddd', shape, instance, quota, start, finish, gross + cost, refunded, now)
    if not opens then
        return state
    end
    local base = 56 + 8 * bounds
    return state, finish - now + grace, false, #item > base and sub(item, base + 1)
end
