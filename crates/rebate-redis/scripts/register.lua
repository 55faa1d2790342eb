-- What the library offers.
--
-- Refunds may use memory when the server is at its limit: they free what was taken. Nothing else may.

local function offer(name, callback, flags)
    redis.register_function({ function_name = 'rebate_' .. name .. SUFFIX, callback = callback, flags = flags or {} })
end

offer('charge_fixed', charge_one(charge_fixed))
offer('charge_sliding', charge_one(charge_sliding))
offer('charge_bucket', charge_one(charge_bucket))
offer('charge_entry', charge_one_entry)
offer('charge_several', charge_several)
offer('charge_once', charge_once)
offer('reserve', reserve)
offer('refund', refund, { 'allow-oom' })
offer('settle', settle)
offer('renew', renew, { 'allow-oom' })
offer('peek', peek, { 'no-writes' })
offer('peek_due', peek_due, { 'allow-oom' })
offer('leases', leases, { 'no-writes' })
offer('reset', reset, { 'allow-oom' })
offer('write_limit', write_limit)
